"""The text that stands before every sentence: ``data.prompt``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator

from components.base.shipped import Shipped
from components.config import Config
from search.settings.problems import InputError

SIDES = ("pivot", "others")


class PromptSettings(Config):
    """The text that stands before each sentence.

    Attributes:
        pivot: text before each sentence of the pivot.
        others: text before each sentence of the other languages.
    """

    pivot: str
    others: str


def full_form(value: object) -> object:
    """Turn one text for all sentences into one for each side; a mapping is left as it is."""
    if isinstance(value, str):
        return dict.fromkeys(SIDES, value)
    if isinstance(value, dict):
        strange = next((key for key in value if key not in SIDES), None)
        if strange is not None:
            raise ValueError(
                f"is a mapping with the key {strange!r}; it must be a text or have the keys pivot "
                f"and others; a text with a colon in it stands in quotation marks: "
                f"'\"{strange}: \"'"
            )
        if len(value) < len(SIDES):
            raise ValueError(
                "names one side alone; it must be a text, or have both pivot and others"
            )
    elif not isinstance(value, PromptSettings):
        raise ValueError(f"is {value!r}; it must be a text, or a mapping with pivot and others")
    return value


if TYPE_CHECKING:
    AnyPrompt = PromptSettings
else:
    AnyPrompt = Annotated[PromptSettings, BeforeValidator(full_form)]


@dataclass(frozen=True)
class Prompts:
    """What stands before sentences in training, in scores and in the exported model.

    Attributes:
        pivot: before each sentence of the pivot.
        others: before each sentence of another language.
        named: name -> text, for sentence-transformers.
        default: name of the one that it uses if none is named; None for no prompt.
    """

    pivot: str = ""
    others: str = ""
    named: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None

    @property
    def differ(self) -> bool:
        """Whether the pivot has another one than the other languages."""
        return self.pivot != self.others

    def of(self, is_pivot: bool) -> str:
        """The text before sentences of the pivot, or of the others."""
        return self.pivot if is_pivot else self.others

    def notes(self) -> list[str]:
        """Say what stands before sentences, or which prompts of the base do not."""
        if self.differ:
            return [
                f"before each sentence of the pivot stands the prompt {self.pivot!r}, before each "
                f"other one {self.others!r}"
            ]
        if self.pivot:
            return [f"before each sentence stands the prompt {self.pivot!r}"]
        idle = [repr(text) for text in self.named.values() if text]
        if not idle:
            return []
        return [
            f"the base has prompts ({', '.join(idle)}) but no default one: none stands before "
            f"sentences; data.prompt sets one"
        ]


def choose_prompts(settings: PromptSettings | None, shipped: Shipped) -> Prompts:
    """Find the prompts of a search: those of the settings or, where these are None, the base's own.

    Of a base's own prompts, its default stands before every sentence; without a default, none does,
    as in sentence-transformers' ``encode``.

    Raises:
        InputError: a setting is the name of one of the base's prompts.
    """
    if settings is None:
        text = shipped.default_prompt
        default = shipped.default_prompt_name if text else None
        return Prompts(text, text, dict(shipped.prompts), default)
    for text in (settings.pivot, settings.others):
        if shipped.prompts.get(text):
            raise InputError.of(
                "data.prompt",
                f"is {text!r}, the name of one of the base's prompts; it must be the text itself, "
                f"{shipped.prompts[text]!r}",
            )
    pivot, others = settings.pivot, settings.others
    if not pivot and not others:
        return Prompts()
    # Those that `encode_query` and `encode_document` use: neither may leave a prompt out.
    named = {"query": others, "document": pivot}
    if pivot == others:
        return Prompts(pivot, others, named, "query")
    return Prompts(pivot, others, {"pivot": pivot, "others": others} | named, "others")
