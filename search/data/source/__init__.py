"""Where sentences come from: ``data.train``, ``data.validation`` and ``data.test``. A file a kind.

A short form (a string, a list, a mapping of languages) is translated here, once, to the full one.
"""

from __future__ import annotations

from collections.abc import Sequence
from os.path import expanduser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator

from components.config import union_of
from search.data.reading.files import exists, format_of, is_pattern, matches
from search.data.reading.interface import (
    PairColumns,
    Request,
    SourceConfig,
    SourceTable,
    SplitName,
)
from search.data.reading.names import check_name, is_language
from search.data.source.builtin import ROWS
from search.settings.problems import InputError

if TYPE_CHECKING:
    from search.data.settings import DataSettings
    from search.runtime.store import Store

__all__ = ["AnySource", "PairColumns", "SourceConfig", "SourceTable", "full_form", "read_source"]


def full_form(value: object) -> object:
    """Translate a short form of a source; anything else is left as it is.

    - ``builtin:cldr``;
    - a file, a folder or a glob, or a list of these: a `table`;
    - ``corpus.de-en.*`` where that matches files that end in language codes: `moses`;
    - ``{en: a.en, de: a.de}``: `moses`;
    - ``name`` or ``name:config`` of a data set on the hub, or of a folder laid out like one: `hub`.
    """
    if isinstance(value, dict) and value and "kind" not in value:
        if len(value) == 1:
            raise ValueError(
                f"names a file for {next(iter(value))!r} alone; it must name one for each of two "
                f"languages or more"
            )
        for language in value:
            check_name(language)
        return {"kind": "moses", "files": value}
    if isinstance(value, list) and value:
        return {"kind": "table", "files": value}
    if (isinstance(value, dict) and value) or isinstance(value, SourceConfig):
        return value
    if not isinstance(value, str):
        raise ValueError(
            f"is {value!r}; it must be a file, a folder, a data set, builtin:cldr, a list of files "
            f"or a mapping of languages to files"
        )
    if not value.strip():
        raise ValueError("is empty; it must name a file, a folder, a data set or builtin:cldr")
    if value.startswith("builtin:"):
        return {"kind": "builtin", "name": value.removeprefix("builtin:")}
    if "\0" in value:
        raise ValueError("holds a NUL character; it must name a file, a folder or a data set")
    path = Path(expanduser(value))
    if is_pattern(value):
        sides = {file.suffix[1:]: str(file) for file in matches(value) if not format_of(file)}
        if len(sides) > 1 and all(map(is_language, sides)):
            return {"kind": "moses", "files": sides}
        return {"kind": "table", "files": [value]}
    name, colon, config = value.rpartition(":")
    if colon and not exists(path) and Path(expanduser(name)).is_dir():
        return {"kind": "hub", "name": name, "config": config}
    if exists(path) and path.is_dir() and _is_data_set(path):
        return {"kind": "hub", "name": value}
    local = exists(path) or format_of(path) or value.startswith(("/", ".", "~"))
    if local or path.is_symlink():
        return {"kind": "table", "files": [value]}
    if colon:
        return {"kind": "hub", "name": name, "config": config}
    return {"kind": "hub", "name": value}


def _is_data_set(folder: Path) -> bool:
    """Whether a folder says in its card which files are which configuration."""
    try:
        card = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return card.startswith("---") and "\nconfigs:" in card.split("\n---")[0]


if TYPE_CHECKING:
    AnySource = SourceConfig
else:
    AnySource = Annotated[union_of(__name__, SourceConfig), BeforeValidator(full_form)]


def read_source(
    settings: DataSettings,
    split: SplitName,
    languages: Sequence[str] | None,
    store: Store | None = None,
) -> SourceTable:
    """Read the sentences of one split.

    Args:
        languages: the columns to read; None for all that are languages.
        store: where what takes long to make is kept for later; nowhere by default.

    Raises:
        InputError: a file or column is missing or unreadable; the key is that of the setting.
    """
    source = settings.source(split)
    assert source is not None, "this split has no source of its own"
    for key, value, counts in (
        ("data.columns", settings.columns, source.text_tables),
        ("data.pairs", settings.pairs, source.tables),
    ):
        if value is not None and not counts and split == "train":
            raise InputError.of(
                key, f"has no effect on a source of the kind {source.kind!r}; it must be left out"
            )
    return source.read(
        Request(
            key=f"data.{split}",
            split=split,
            languages=languages,
            pivot=settings.pivot,
            columns=settings.columns if source.text_tables else None,
            pairs=settings.pairs if source.tables else None,
            rows=settings.rows(split),
            skipped=_skipped(settings, split),
            seed=settings.seed,
            store=store,
        )
    )


def _skipped(settings: DataSettings, split: SplitName) -> int:
    """Rows of the built-in corpus that validate, and so do not test."""
    return (settings.rows("validation") or ROWS["validation"]) if split == "test" else 0
