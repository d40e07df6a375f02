"""Files that are written anew while others read them."""

from __future__ import annotations

from pathlib import Path


def replace_text(file: Path, text: str) -> None:
    """Write a text in place of what a file holds: all of it or, with an error, nothing.

    A name of a file that is not UTF-8 is written with its bytes escaped.

    Raises:
        OSError: it cannot be written; no part of it is left, as a full disk would stay full.
    """
    fresh = file.with_suffix(".new")
    try:
        fresh.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
