"""What a sentence-transformers folder says of its model beyond the transformer itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Modules that a trial replaces by its own, or that change nothing that is trained.
REPLACED = ("Transformer", "Pooling", "Normalize")


def stated_length(source: str) -> int | None:
    """Read the largest length that a sentence-transformers folder sets for its model, in tokens.

    Args:
        source: folder of the transformer, or a name on the hub.
    """
    limit = _read(Path(source) / "sentence_bert_config.json", dict).get("max_seq_length")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 4:
        return None
    return limit


def list_unused(source: str) -> list[str]:
    """Name the parts of a sentence-transformers folder that trials do not use."""
    folder = Path(source)
    notes = []
    modules = _read(folder / "modules.json", list)
    parts = [part for part in modules if isinstance(part, dict)]
    kinds = [str(part.get("type", "")).rpartition(".")[2] for part in parts]
    dropped = [kind for kind in kinds if kind and kind not in REPLACED]
    if dropped:
        notes.append(
            f"of the base's own modules, {', '.join(dropped)} are left out: trials train heads of "
            f"their own, and the base without training is scored without them"
        )
    prompts = _read(folder / "config_sentence_transformers.json", dict).get("prompts")
    named = [name for name, text in prompts.items() if text] if isinstance(prompts, dict) else []
    if named:
        notes.append(
            f"the base's prompts ({', '.join(map(str, named))}) are not put before sentences, "
            f"neither in training nor in scores nor in best/"
        )
    return notes


def _read(file: Path, kind: type[Any]) -> Any:
    """Read a JSON file that holds a list or a mapping; an empty one where none can be read."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return kind()
    return found if isinstance(found, kind) else kind()
