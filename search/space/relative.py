"""Relative paths in a space file count from its folder."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

# Sections and keys whose values, and what lies below them, may name files or folders.
_FILES = ("train", "validation", "test")
_MODELS = ("model", "teacher")
# Keys below these whose values never do.
_WORDS = ("kind", "config", "split", "revision")


def rebase(tree: dict[str, object], folder: Path) -> None:
    """Make relative paths in a tree count from a folder, where something is there.

    What lies below the working directory is then named from there, anything else in full, so that
    a path reads the same wherever the space file was named from. Names of what is not there stay
    as they are: they count from the working directory, or are of the hub.
    """
    change = partial(_from, folder.resolve())
    data = tree.get("data")
    if isinstance(data, dict):
        for key in _FILES:
            if key in data:
                data[key] = _mapped(data[key], change)
    _rebase_models(tree, change)


def _rebase_models(node: object, change: Callable[[str], str]) -> None:
    """Change the names of models, wherever they stand: of the base, of teachers, of cases."""
    if isinstance(node, list):
        for part in node:
            _rebase_models(part, change)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in _MODELS:
                node[key] = _mapped(value, change)
            else:
                _rebase_models(value, change)


def _mapped(value: object, change: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(part, change) for part in value]
    if isinstance(value, dict):
        return {key: v if key in _WORDS else _mapped(v, change) for key, v in value.items()}
    return value


def _from(folder: Path, name: str) -> str:
    if not name or name.startswith("~") or os.path.isabs(name):
        return name
    path = os.path.normpath(folder / name)
    # ``name:config`` of a data set; a name that no file can have is a fault, told elsewhere.
    if "\0" not in name and any(map(_is_there, (path, path.rpartition(":")[0]))):
        return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
    return name


def _is_there(path: str) -> bool:
    return os.path.exists(path) or (glob.has_magic(path) and bool(glob.glob(path)))
