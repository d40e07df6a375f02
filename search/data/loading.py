"""The sentences of a search: read, compared with each other, divided and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from search.data.comparison import number_texts
from search.data.corpus import Corpus
from search.data.holdout import MOST_ROWS, hold_out
from search.data.placement import PLACES, PlacedRows
from search.data.reading.interface import SourceTable, SplitName
from search.data.settings import DataSettings
from search.data.source import read_source
from search.runtime.store import Store
from search.settings.problems import InputError, nearest


@dataclass(frozen=True)
class Counts:
    """What became of the sentences that were read.

    Attributes:
        rows: rows read.
        empty: language -> rows in which it has no sentence, or a blank one.
        places: language -> place -> sentences. Places are ``train`` and ``validation``; ``alone``,
            in rows without another language; ``duplicate``, in rows that repeat an earlier row in
            every language; ``leaked``, in rows that share a sentence with the validation;
            ``unused``, in rows beyond the number asked for. With the empty rows they add up to all.
        copied: language -> sentences to train on or to validate with that are the pivot's own text.
    """

    rows: int
    empty: Mapping[str, int]
    places: Mapping[str, Mapping[str, int]]
    copied: Mapping[str, int]


@dataclass(frozen=True)
class LoadedData:
    """The sentences of a search.

    Attributes:
        notes: what else there is to know of how they were read and divided, a sentence each.
    """

    train: Corpus
    validation: Corpus
    counts: Counts
    notes: tuple[str, ...]


def load_data(settings: DataSettings, store: Store | None = None) -> LoadedData:
    """Load the sentences to train on and those to validate with.

    No row to train on shares a sentence of any language with a row of the validation, and no row
    of either repeats another of it in every language. Texts are compared as `comparison` says.

    Args:
        store: where what takes long to make is kept for later; nowhere by default.

    Raises:
        InputError: a file or column is missing or unreadable, or too little is left.
    """
    rng = np.random.default_rng(settings.seed)
    sources = [_read(settings, "train", settings.languages, store)]
    apart = settings.validation is not None or settings.train.has_validation
    if apart:
        languages = sources[0].table.column_names
        sources.append(_read(settings, "validation", languages, store))
    placed = _place([source.table for source in sources])
    notes = [note for source in sources for note in source.notes]
    if not apart:
        notes += _divide(settings, placed[0], rng)
    else:
        placed[1].move("train", "validation")
        placed[1].limit("validation", settings.validation_rows, rng)
        placed[0].drop_leaks(placed[1].text_LR[:, placed[1].at("validation")])
    placed[0].limit("train", settings.train_rows, rng)
    loaded = LoadedData(
        placed[0].corpus("train"),
        placed[-1].corpus("validation"),
        _counts(placed, [source.rows_read for source in sources], settings.pivot),
        tuple(notes),
    )
    del placed, sources
    pa.default_memory_pool().release_unused()  # the text as it was read, rows left out included
    _check_enough("data.validation", loaded.validation, settings.pivot)
    _check_enough("data.train", loaded.train, settings.pivot)
    return loaded


def load_corpora(settings: DataSettings) -> tuple[Corpus, Corpus]:
    """The sentences to train on and to validate with alone.

    Raises:
        InputError: as `load_data`.
    """
    loaded = load_data(settings)
    return loaded.train, loaded.validation


def load_corpus(settings: DataSettings) -> Corpus:
    """Load all the sentences of ``train``, none held out, repetitions included.

    Raises:
        InputError: as `load_data`.
    """
    source = _read(settings, "train", settings.languages)
    (placed,) = _place([source.table], duplicates=True)
    corpus = placed.corpus("train")
    _check_enough("data.train", corpus, settings.pivot)
    return corpus


def _read(
    settings: DataSettings,
    split: SplitName,
    languages: Sequence[str] | None,
    store: Store | None = None,
) -> SourceTable:
    """Read a split, of languages that make sense together.

    Raises:
        InputError: they do not, or the source is at fault.
    """
    if languages is not None:
        _check_languages(languages, settings.pivot)
    source = read_source(settings, split, languages, store)
    if languages is None:
        _check_languages(source.table.column_names, settings.pivot)
    return source


def _check_languages(languages: Sequence[str], pivot: str) -> None:
    if len(set(languages)) < 2:
        raise InputError.of(
            "data.languages", f"is {list(languages)}; it must name two languages or more"
        )
    if len(set(languages)) < len(languages):
        raise InputError.of(
            "data.languages", f"is {list(languages)}; it must name each language once"
        )
    if pivot not in languages:
        raise InputError.of(
            "data.pivot",
            f"is {pivot!r}; it must be among the languages, {', '.join(languages)}"
            f"{nearest(pivot, languages)}",
        )


def _place(tables: Sequence[pa.Table], duplicates: bool = False) -> list[PlacedRows]:
    """Number the texts of some tables alike, and drop what cannot be used.

    Blank texts, also those of invisible characters alone, become missing.

    Args:
        duplicates: keep rows that repeat others.

    Raises:
        InputError: a table has no row with two languages.
    """
    whole = pa.concat_tables(tables)
    text_LR = number_texts(whole.columns)
    ends = np.cumsum([table.num_rows for table in tables])
    placed = []
    for split, table, end in zip(("train", "validation"), tables, ends.tolist(), strict=False):
        part_LR = text_LR[:, end - table.num_rows : end]
        columns = [
            pc.if_else(pa.array(text_R >= 0), column, None)
            if column.null_count < (text_R < 0).sum()
            else column
            for column, text_R in zip(table.columns, part_LR, strict=True)
        ]
        one = PlacedRows(pa.table(columns, names=table.column_names), part_LR)
        if not one.at("train").any():
            raise InputError.of(
                f"data.{split}", "has no row with two languages or more; it must have some"
            )
        placed.append(one)
    if not duplicates:
        # Of the validation too: a sentence that stands there twice would be found twice as often.
        for one in placed:
            one.drop_duplicates()
    return placed


def _divide(settings: DataSettings, placed: PlacedRows, rng: np.random.Generator) -> list[str]:
    """Hold rows out for the validation; what there is to say of it."""
    (rows,) = np.nonzero(placed.at("train"))
    if len(rows) < 2:
        raise InputError.of(
            "data.train",
            "has one row that can be used; it must have two or more, since some are held out, or "
            "data.validation must be given",
        )
    most = settings.validation_rows or MOST_ROWS
    target = min(max(1, round(settings.holdout * len(rows))), most)
    found = hold_out(placed.text_LR[:, rows], target, rng)
    placed.place_R[rows[found.held]] = PLACES.index("validation")
    placed.place_R[rows[found.lost]] = PLACES.index("leaked")
    held, lost = int(found.held.sum()), int(found.lost.sum())
    if lost:
        return [
            f"{found.largest:,} of {len(rows):,} rows hang together by sentences they share, each "
            f"with the next, so no division keeps them all: {held:,} are held out and {lost:,}, "
            f"which share a sentence with these, are not trained on (a file of its own in "
            f"data.validation would lose none)"
        ]
    if held < target:
        return [
            f"{held:,} rows are held out instead of {target:,}: rows that share a sentence stay "
            f"together, and the largest such group has {found.largest:,}"
        ]
    return []


def _counts(placed: Sequence[PlacedRows], rows: Sequence[int], pivot: str) -> Counts:
    languages = placed[0].table.column_names
    main = languages.index(pivot)
    present = [one.text_LR >= 0 for one in placed]
    # What the source dropped by itself had no sentence in any language.
    read = sum(max(n, len(one.place_R)) for n, one in zip(rows, placed, strict=True))
    empty, places, copied = {}, {}, {}
    for index, language in enumerate(languages):
        places[language] = {
            place: sum(int((mask[index] & one.at(place)).sum())
                       for mask, one in zip(present, placed, strict=True))
            for place in PLACES
        }  # fmt: skip
        empty[language] = read - sum(places[language].values())
        copied[language] = sum(
            int((_equal(one.table.column(index), one.table.column(main)) & one.is_used()).sum())
            for one in placed
            if index != main
        )
    return Counts(read, empty, places, copied)


def _equal(column: pa.ChunkedArray, other: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Where two columns hold the same text, letter by letter."""
    found: NDArray[np.bool_] = pc.fill_null(pc.equal(column, other), False).to_numpy()
    return found


def _check_enough(key: str, corpus: Corpus, pivot: str) -> None:
    """Every language has a pair to train on, and validation pairs with the pivot.

    Raises:
        InputError: one has none, or no row is left.
    """
    if not len(corpus):
        raise InputError.of(
            key,
            "has no rows left; it must have some that share no sentence with the other split",
        )
    present = {
        name: pc.is_valid(column).to_numpy()
        for name, column in zip(corpus.languages, corpus.table.columns, strict=True)
    }
    for language, here in present.items():
        others = [there for name, there in present.items() if name != language]
        if key == "data.validation" and language != pivot:
            others = [present[pivot]]
        if not (here & np.any(others, axis=0)).any():
            partner = f"beside {pivot!r}" if key == "data.validation" else "with a translation"
            raise InputError.of(
                key, f"has no sentence in {language!r} {partner}; it must have some, or the "
                f"language must be left out of data.languages"
            )  # fmt: skip
