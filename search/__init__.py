"""Searches for the best cross-lingual sentence embedder: ``from search import run, load_run``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.api import SearchRun, load_run, run

__all__ = ["SearchRun", "load_run", "run"]


def __getattr__(name: str) -> object:
    """Import the Python API when it is asked for; the commands' help does without."""
    if name in __all__:
        from search import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
