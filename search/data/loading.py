"""The sentences of a search: read, compared with each other, divided and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from search.data.checks import refuse_languages, refuse_too_few
from search.data.comparison import number_texts
from search.data.corpus import Corpus
from search.data.holdout import MOST_ROWS, hold_out
from search.data.placement import PLACES, PlacedRows
from search.data.reading.interface import SourceTable, SplitName
from search.data.settings import DataSettings
from search.data.source import read_source
from search.data.test_rows import LEAST_ROWS, put_aside, rng_of_test
from search.runtime.store import Store
from search.settings.problems import InputError


@dataclass(frozen=True)
class Counts:
    """What became of the sentences that were read.

    Attributes:
        rows: rows read.
        empty: language -> rows in which it has no sentence, or a blank one.
        places: language -> place -> sentences. Places are ``train``, ``validation`` and ``test``;
            ``alone``, in rows without another language; ``duplicate``, in rows that repeat an
            earlier row in every language; ``leaked``, in rows that share a sentence with the
            validation or the test; ``unused``, in rows beyond the number asked for. With the empty
            rows they add up to all.
        copied: language -> sentences to train on, to validate or to test with that are the pivot's
            own text.
    """

    rows: int
    empty: Mapping[str, int]
    places: Mapping[str, Mapping[str, int]]
    copied: Mapping[str, int]


@dataclass(frozen=True)
class LoadedData:
    """The sentences of a search.

    Attributes:
        test: None where no sentences are put aside.
        notes: what else there is to know of how they were read and divided, a sentence each.
    """

    train: Corpus
    validation: Corpus
    test: Corpus | None
    counts: Counts
    notes: tuple[str, ...]


def load_data(settings: DataSettings, store: Store | None = None) -> LoadedData:
    """Load the sentences to train on, to validate and to test with.

    No row of one part shares a sentence of any language with a row of another part, and no row
    repeats another of its part in every language. Texts are compared as `comparison` says.

    Args:
        store: where what takes long to make is kept for later; nowhere by default.

    Raises:
        InputError: a file or column is missing or unreadable, or too little is left.
    """
    rng = np.random.default_rng(settings.seed)
    sources = {"train": _read(settings, "train", settings.languages, store)}
    columns = sources["train"].table.column_names
    for split in ("validation", "test"):
        if settings.source(split) is not None:
            sources[split] = _read(settings, split, columns, store)
    placed = _place({split: source.table for split, source in sources.items()})
    notes = [note for source in sources.values() for note in source.notes]
    train, validation = placed["train"], placed.get("validation", placed["train"])
    test = placed.get("test")
    if test is not None:
        test.move("train", "test")
        test.limit("test", settings.test_rows, rng_of_test(settings.seed))
        for one in {id(part): part for part in (train, validation)}.values():
            one.drop_leaks(test.text_LR[:, test.at("test")])
    is_held_out = validation is train
    if is_held_out:
        notes += _hold_out(settings, train, rng)
    else:
        validation.move("train", "validation")
    if test is None and settings.test_share > 0:
        test = validation
        notes += put_aside(test, settings)
    validation.limit("validation", settings.validation_rows, rng)
    if validation is not train:
        held = validation.at("validation") | validation.at("test")
        train.drop_leaks(validation.text_LR[:, held])
    train.limit("train", settings.train_rows, rng)
    tested = None if test is None else test.corpus("test")
    loaded = LoadedData(
        train.corpus("train"),
        validation.corpus("validation"),
        tested or None,
        _counts(placed, [source.rows_read for source in sources.values()], settings.pivot),
        tuple(notes),
    )
    del placed, sources, train, validation, test
    pa.default_memory_pool().release_unused()  # the text as it was read, rows left out included
    rest = loaded.train if is_held_out else None
    refuse_too_few("data.validation", loaded.validation, settings.pivot, rest)
    if tested is not None and settings.test is not None:
        refuse_too_few("data.test", tested, settings.pivot)
    refuse_too_few("data.train", loaded.train, settings.pivot)
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
    table = _read(settings, "train", settings.languages).table
    corpus = _place({"train": table}, duplicates=True)["train"].corpus("train")
    refuse_too_few("data.train", corpus, settings.pivot)
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
        refuse_languages(languages, settings.pivot)
    source = read_source(settings, split, languages, store)
    if languages is None:
        refuse_languages(source.table.column_names, settings.pivot)
    return source


def _place(tables: Mapping[str, pa.Table], duplicates: bool = False) -> dict[str, PlacedRows]:
    """Number the texts of each split's table alike, and drop what cannot be used.

    Blank texts, also those of invisible characters alone, become missing.

    Args:
        duplicates: keep rows that repeat others.

    Raises:
        InputError: a table has no row with two languages.
    """
    whole = pa.concat_tables(tables.values())
    text_LR = number_texts(whole.columns)
    ends = np.cumsum([table.num_rows for table in tables.values()])
    placed = {}
    for (split, table), end in zip(tables.items(), ends.tolist(), strict=True):
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
        placed[split] = one
    if not duplicates:
        # Of the validation too: a sentence that stands there twice would be found twice as often.
        for one in placed.values():
            one.drop_duplicates()
    return placed


def _hold_out(settings: DataSettings, placed: PlacedRows, rng: np.random.Generator) -> list[str]:
    """Hold rows out for the validation and, of these, the test; what there is to say of it."""
    (rows,) = np.nonzero(placed.at("train"))
    if len(rows) < 2:
        leaked, repeated = (int(placed.at(place).sum()) for place in ("leaked", "duplicate"))
        besides = [f"{repeated:,} that repeat another"] * bool(repeated)
        besides += [f"{leaked:,} that share a sentence with data.test"] * bool(leaked)
        raise InputError.of(
            "data.train",
            f"has {'one row' if len(rows) else 'no row'} that can be used"
            f"{', besides ' if besides else ''}{' and '.join(besides)}; it must have "
            f"two or more, since some are held out, or data.validation must be given",
        )
    most = settings.validation_rows or MOST_ROWS
    with_test = round(most / (1 - settings.test_share))
    if settings.validation_rows and settings.test is None and with_test >= LEAST_ROWS:
        most = with_test
    target = min(max(1, round(settings.holdout * len(rows))), most)
    found = hold_out(placed.text_LR[:, rows], target, rng)
    placed.place_R[rows[found.held]] = PLACES.index("validation")
    placed.place_R[rows[found.lost]] = PLACES.index("leaked")
    held, lost = int(found.held.sum()), int(found.lost.sum())
    if held + lost == len(rows):
        raise InputError.of(
            "data.train",
            f"has {len(rows):,} rows, each of which shares a sentence with those that are held "
            f"out to validate with, so that none is left to train on; it must have rows that "
            f"share none, or data.validation must be given",
        )
    if lost:
        return [
            f"{found.largest:,} of {len(rows):,} rows hang together by sentences they share, each "
            f"with the next, so no division keeps them all: {held:,} are held out and {lost:,} "
            f"that share one with these left out (a file in data.validation would lose none)"
        ]
    if held < target:
        return [
            f"{held:,} rows are held out instead of {target:,}: rows that share a sentence stay "
            f"together, and the largest such group has {found.largest:,}"
        ]
    return []


def _counts(parts: Mapping[str, PlacedRows], rows: Sequence[int], pivot: str) -> Counts:
    placed = list(parts.values())
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
