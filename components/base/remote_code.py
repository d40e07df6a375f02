"""Refuse code of a model that may be another one at the next load."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

COMMIT = re.compile(r"[0-9a-f]{40}")


def unpinned_revision(source: str, revision: str | None) -> str:
    """Why code from the hub is not pinned; empty where it is, or comes from a folder.

    A folder is what it is: its code is run as it lies there.

    Returns:
        The end of a sentence that begins with the key of the revision.
    """
    if Path(source).is_dir() or COMMIT.fullmatch(revision or ""):
        return ""
    return (
        f"is {revision!r}; with trust_remote_code, which runs code from the hub, it must be a full "
        f"commit hash (40 hexadecimal digits)"
    )


def code_elsewhere(source: str, files: Mapping[str, object]) -> str:
    """Why code that a model names is not its own: it lies in another repository; or empty.

    transformers takes such code (``other/repository--file.Class`` in ``auto_map``) from the newest
    revision there.

    Args:
        files: name of a settings file -> what it holds.

    Returns:
        The end of a sentence that begins with the model.
    """
    for name, content in files.items():
        named = json.dumps(content.get("auto_map", {})) if isinstance(content, Mapping) else ""
        for repository in re.findall(r'"([^"]+)--[^"]*"', named):
            if repository != source:
                return (
                    f"brings code of another repository ({repository!r}, in {name}), whose "
                    f"revision nothing pins; copy that code into a local folder of the model"
                )
    return ""
