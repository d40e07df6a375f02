"""Find a pretrained model: built in, in a folder or on the hub."""

from __future__ import annotations

import json
from os.path import expanduser
from pathlib import Path

BUILTIN = {"builtin:tiny": Path(__file__).parent / "tiny"}
ADAPTER_FILE = "adapter_config.json"


def locate(model: str) -> str:
    """Turn a model setting into what transformers loads: a folder, or a name on the hub.

    Raises:
        ValueError: an unknown built-in name, or a path that is neither a model folder nor that of
            a PEFT adapter.
    """
    if model.startswith("builtin:"):
        if model not in BUILTIN:
            raise ValueError(f"base.model is {model!r}; built in is only {', '.join(BUILTIN)}")
        return str(BUILTIN[model])
    path = Path(expanduser(model))
    if not path.exists():
        # One slash at most makes a hub name; anything else can only have been meant as a path.
        if model.count("/") > 1 or model.startswith(("/", ".", "~")):
            raise ValueError(f"base.model is {model!r}, which does not exist")
        return model
    if not path.is_dir():
        raise ValueError(f"base.model is {model!r}, a file; it must be a model folder")
    if not _holds_model(path):
        inner = _first_module(path)
        if inner is None:
            raise ValueError(f"base.model is {model!r}, which has no config.json")
        path = inner
    return str(path.resolve())


def _first_module(folder: Path) -> Path | None:
    """The transformer inside an older sentence-transformers folder (``0_Transformer``)."""
    try:
        modules: list[dict[str, str]] = json.loads((folder / "modules.json").read_text())
        inner = folder / modules[0]["path"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return inner if _holds_model(inner) else None


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter: as for transformers, this file makes it one."""
    return (folder / ADAPTER_FILE).is_file()


def _holds_model(folder: Path) -> bool:
    return (folder / "config.json").exists() or is_adapter(folder)
