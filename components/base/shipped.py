"""Settings in a sentence-transformers folder beyond those of the transformer itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from transformers.utils import cached_file

# Modules that a trial replaces by its own, or that change nothing that is trained.
LEAST_LENGTH = 4  # tokens of a sentence
REPLACED = ("Transformer", "Pooling", "Normalize")

Json = TypeVar("Json", list[object], dict[str, object])


@dataclass(frozen=True)
class Shipped:
    """What a folder, or a model on the hub, was published with.

    Attributes:
        is_sentence_model: whether it was saved by sentence-transformers.
        max_length: tokens after which it cuts sentences; None where only its tokenizer says.
        pooling: settings of its module of this kind; empty where it has none.
        unused: kinds of its other modules, which trials do not use.
        prompts: name -> text that is put before a sentence.
        default_prompt_name: of the prompt that stands before a sentence if none is named.
        faults: what its files say without sense, a sentence each.
    """

    is_sentence_model: bool = False
    max_length: int | None = None
    pooling: Mapping[str, object] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    faults: tuple[str, ...] = ()

    @property
    def default_prompt(self) -> str:
        """The text of the default prompt; empty where there is none."""
        return self.prompts.get(self.default_prompt_name or "", "")

    def notes(self) -> list[str]:
        """Name what of it trials do not use."""
        notes = list(self.faults)
        if self.unused:
            notes.append(
                f"of the base's own modules, {', '.join(self.unused)} are left out: trials train "
                f"heads of their own, and the base without training is scored without them"
            )
        if self.pooling.get("include_prompt") is False:
            notes.append(
                "the base's own pooling leaves the prompt out; here the prompt's tokens are pooled "
                "like the others"
            )
        return notes


def read_shipped(model: str, revision: str | None = None) -> Shipped:
    """Read what was published with a model; what a file says without sense is noted and left out.

    Args:
        model: a folder, or a name on the hub, whose files are fetched.
    """
    if model.startswith("builtin:"):
        return Shipped()
    faults: list[str] = []

    def read(name: str, kind: type[Json]) -> Json:
        return _read(model, revision, name, kind, faults)

    modules = [part for part in read("modules.json", list) if isinstance(part, dict)]
    paths = {_kind(part): str(part.get("path", "")) for part in modules}
    if not paths:
        return Shipped(faults=tuple(faults))

    def inside(kind: str, file: str) -> dict[str, object]:
        return read(str(Path(paths[kind]) / file), dict) if kind in paths else {}

    length = inside("Transformer", "sentence_bert_config.json").get("max_seq_length")
    whole = length if isinstance(length, int) and not isinstance(length, bool) else 0
    usable = whole if whole >= LEAST_LENGTH else None
    if length is not None and usable is None:
        faults.append(
            f"max_seq_length is {length!r} in the base's sentence_bert_config.json; it is left "
            f"out, since it must be a whole number from {LEAST_LENGTH}"
        )
    prompts, default = _read_prompts(read("config_sentence_transformers.json", dict), faults)
    return Shipped(
        is_sentence_model=True,
        max_length=usable,
        pooling=inside("Pooling", "config.json"),
        unused=tuple(kind for kind in paths if kind and kind not in REPLACED),
        prompts=prompts,
        default_prompt_name=default,
        faults=tuple(faults),
    )


def _read_prompts(
    config: Mapping[str, object], faults: list[str]
) -> tuple[dict[str, str], str | None]:
    """The prompts by their names, and the name of the default one."""
    given = config.get("prompts") or {}
    if not isinstance(given, dict):
        faults.append(f"the base's prompts are {given!r}; they are left out, since they must be a "
                      f"mapping of names to texts")  # fmt: skip
        given = {}
    prompts = {}
    for name, text in given.items():
        if isinstance(text, str) and _is_unicode(name + text):
            prompts[name] = text
        else:
            faults.append(f"the base's prompt {name!r} is {text!r}; it is left out, since it must "
                          f"be a text")  # fmt: skip
    default = config.get("default_prompt_name")
    if default is not None and (not isinstance(default, str) or default not in prompts):
        faults.append(
            f"default_prompt_name is {default!r} in the base's config_sentence_transformers.json, "
            f"which names none of its prompts; none stands before sentences"
        )
        default = None
    return prompts, default


def _is_unicode(text: str) -> bool:
    """Whether a text can be encoded: JSON may hold half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _kind(part: Mapping[str, object]) -> str:
    """The class of a module, without its package."""
    return str(part.get("type", "")).rpartition(".")[2]


def _read(model: str, revision: str | None, name: str, kind: type[Json], faults: list[str]) -> Json:
    """Read a JSON file that holds a list or a mapping; an empty one where none can be read."""
    try:
        if Path(model).is_dir():
            file = Path(model) / name
        else:
            fetched = cached_file(
                model,
                name,
                revision=revision,
                _raise_exceptions_for_gated_repo=False,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
            )
            file = Path(fetched or "")
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        return kind()  # most bases have few of these files
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        faults.append(f"the base's {name} cannot be read and is left out: {reason}")
        return kind()
    if not isinstance(found, kind):
        faults.append(
            f"the base's {name} holds a {type(found).__name__} and is left out; it must hold a "
            f"{kind.__name__}"
        )
        return kind()
    return found
