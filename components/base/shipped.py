"""What a sentence-transformers folder says of its model beyond the transformer itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

# Modules that a trial replaces by its own, or that change nothing that is trained.
REPLACED = ("Transformer", "Pooling", "Normalize")


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
    """

    is_sentence_model: bool = False
    max_length: int | None = None
    pooling: Mapping[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None

    @property
    def default_prompt(self) -> str:
        """The text of the default prompt; empty where there is none."""
        return self.prompts.get(self.default_prompt_name or "", "")

    def notes(self) -> list[str]:
        """Name what of it trials do not use."""
        notes = []
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
    """Read what was published with a model; of what no file says, or says without sense, nothing.

    Args:
        model: a folder, or a name on the hub, whose files are fetched.
    """

    if model.startswith("builtin:"):
        return Shipped()

    def read(name: str, kind: type[Any]) -> Any:
        return _read(model, revision, name, kind)

    modules = [part for part in read("modules.json", list) if isinstance(part, dict)]
    paths = {_kind(part): str(part.get("path", "")) for part in modules}
    if not paths:
        return Shipped()

    def inside(kind: str, file: str) -> Any:
        return read(str(Path(paths[kind]) / file), dict) if kind in paths else {}

    length = inside("Transformer", "sentence_bert_config.json").get("max_seq_length")
    usable = isinstance(length, int) and not isinstance(length, bool) and length >= 4
    config = read("config_sentence_transformers.json", dict)
    prompts = config.get("prompts")
    texts = prompts.items() if isinstance(prompts, dict) else ()
    return Shipped(
        is_sentence_model=True,
        max_length=length if usable else None,
        pooling=inside("Pooling", "config.json"),
        unused=tuple(kind for kind in paths if kind and kind not in REPLACED),
        prompts={str(name): text for name, text in texts if isinstance(text, str)},
        default_prompt_name=config.get("default_prompt_name"),
    )


def _kind(part: Mapping[str, Any]) -> str:
    """The class of a module, without its package."""
    return str(part.get("type", "")).rpartition(".")[2]


def _read(model: str, revision: str | None, name: str, kind: type[Any]) -> Any:
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
    except (OSError, ValueError):
        return kind()
    return found if isinstance(found, kind) else kind()
