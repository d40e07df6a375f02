"""Blocks of rows -> one checked table of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from search.data.reading.interface import Request, SourceTable
from search.data.reading.names import ROW_NUMBER, is_ambiguous, is_code, is_language
from search.settings.problems import InputError, nearest, shown

TEXT = pa.large_string()
BLOCK_ROWS = 8192
MOST_CHARACTERS = 1_000_000  # of a cell: more is a file that was read wrongly, not a sentence
NUMBER = r"^\s*[+-]?(\d+([.,]\d+)*|\.\d+)([eE][+-]?\d+)?\s*%?\s*$"

# Name of a column -> its values.
Columns = Mapping[str, Sequence[object] | pa.Array]
Place = Callable[[int], str]
"""Row of a block -> where it stands, such as ``'a.tsv', line 7``."""


class Collector:
    """Takes the rows of a source, block by block, and keeps the columns that are languages.

    Every kind of file is checked here alike: types, characters, lengths, numbers.
    """

    def __init__(self, request: Request, name: str) -> None:
        self.request = request
        self.name = name
        self.seen: dict[str, None] = {}
        self.ignored: dict[str, str] = {}
        self.notes: dict[str, None] = {}
        self.rows = 0
        self.with_text: set[str] = set()  # columns that have held text
        self._chunks: list[tuple[int, dict[str, pa.Array]]] = []
        self._blank: dict[str, int] = {}
        self._numbers: dict[str, str] = {}  # column of numbers so far -> place of the first

    def wants(self, name: str, certain: bool = False) -> bool:
        """Whether a column is to be read; why not is kept for the report.

        Args:
            certain: it is a language by where it stands (under ``translation``), so that a name
                such as ``id`` is no word here.
        """
        if name in self.seen:
            return name not in self.ignored
        self.seen[name] = None
        listed = self.request.languages
        if listed is not None:
            if name not in listed:
                self.ignored[name] = "it is not listed in data.languages"
            elif name == ROW_NUMBER:
                self.notes[f"the column {ROW_NUMBER!r} is read as Indonesian, as it is listed"] = (
                    None
                )
        elif not (is_code(name) if certain else is_language(name)):
            self.ignored[name] = self._reason(name)
        return name not in self.ignored

    def _reason(self, name: str) -> str:
        if name.lower() == ROW_NUMBER:
            self.notes[
                f"the column {name!r} is taken for row numbers, not for Indonesian; if it is a "
                f"language, list it in data.languages"
            ] = None
            return "it is taken for row numbers, not for Indonesian"
        if is_code(name) and is_ambiguous(name):
            return "its name is a language code, but an ordinary word too"
        return "its name is no language code"

    def ignore(self, name: str, reason: str) -> None:
        """Leave a column out after all."""
        self.seen.setdefault(name, None)
        self.ignored[name] = reason

    def is_listed(self, name: str) -> bool:
        """Whether a person has said that a column is a language."""
        return self.request.languages is not None and name in self.request.languages

    def add(self, columns: Columns, rows: int, place: Place) -> None:
        """Take a block: the columns that `wants` has accepted, of ``rows`` values each.

        Raises:
            InputError: a value is no text, or cannot be a sentence.
        """
        chunk = {}
        for name, values in columns.items():
            if name in self.ignored:
                continue
            array = self._text(name, values, place)
            trimmed = pc.utf8_trim_whitespace(array)
            filled = pc.not_equal(trimmed, "")
            self._blank[name] = self._blank.get(name, 0) + (
                pc.sum(pc.invert(filled), min_count=0).as_py()
            )
            chunk[name] = pc.if_else(filled, trimmed, pa.scalar(None, TEXT))
            self._check(name, chunk[name], place)
        self._chunks.append((rows, chunk))
        self.rows += rows

    def _text(self, name: str, values: Sequence[object] | pa.Array, place: Place) -> pa.Array:
        if isinstance(values, pa.Array):
            return values.cast(TEXT)
        try:
            return pa.array(values, TEXT)
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:
            for row, value in enumerate(values):
                if value is not None and not isinstance(value, str):
                    raise self.request.error(stray(place(row), name, value)) from error
                if value is not None and any("\ud800" <= c <= "\udfff" for c in value):
                    raise self.request.error(
                        f"{place(row)}: the column {name!r} holds half of a surrogate pair, which "
                        f"is no character; it must be Unicode text"
                    ) from error
            raise

    def _check(self, name: str, array: pa.Array, place: Place) -> None:
        nul = pc.index(pc.fill_null(pc.match_substring(array, "\0"), False), True).as_py()
        if nul >= 0:
            raise self.request.error(
                f"{place(nul)}: the column {name!r} holds a NUL character; it must be text"
            )
        lengths = pc.fill_null(pc.utf8_length(array), 0)
        longest = pc.max(lengths).as_py() or 0
        if longest > MOST_CHARACTERS:
            row = pc.index(lengths, longest).as_py()
            raise self.request.error(
                f"{place(row)}: the column {name!r} holds {longest:,} characters; a sentence must "
                f"have at most {MOST_CHARACTERS:,}"
            )
        if array.null_count == len(array):
            return
        if name not in self._blank or self._numbers.get(name, "new") == "":
            return
        numbers = pc.fill_null(pc.match_substring_regex(array, NUMBER), True)
        if pc.all(numbers).as_py():
            first = pc.index(pc.is_valid(array), True).as_py()
            self._numbers.setdefault(name, place(first))
        else:
            self._numbers[name] = ""

    def finish(self) -> SourceTable:
        """Join the blocks.

        Raises:
            InputError: a language that is listed is missing, or there are fewer than two.
        """
        error, listed = self.request.error, self.request.languages
        for name, place in self._numbers.items():
            if place and self.is_listed(name):
                raise error(f"{place}: the column {name!r} holds numbers only; it must hold "
                            f"sentences, or be left out of data.languages")  # fmt: skip
            if place:
                self.ignored[name] = "it holds numbers only"
        languages = [name for name in self.seen if name not in self.ignored]
        if listed is not None:
            missing = [name for name in listed if name not in languages]
            if missing:
                has = list(self.seen)
                if self.request.split == "train":  # whose languages only a person has listed
                    raise InputError.of(
                        "data.languages",
                        f"names {missing[0]!r}, but {self.name!r} has no column {missing[0]!r}; it "
                        f"has {_few(has)}{nearest(missing[0], has)}",
                    )
                raise error(
                    f"{self.name!r} has no column {missing[0]!r}; it must have one for each of the "
                    f"languages, and has {_few(has)}{nearest(missing[0], has)}"
                )
            languages = list(listed)
        if len(languages) < 2:
            left_out = "; ".join(f"{shown(n)!r}: {why}" for n, why in self.ignored.items())
            raise error(
                f"{self.name!r} has {'no column' if not languages else 'one column only'} that is "
                f"a language{f', {languages[0]!r}' if languages else ''}; it must have two or more "
                f"(ignored: {left_out or 'none'}); what is a language under another name must be "
                f"listed in data.languages (for a table with a column of sentences, one of their "
                f"translations and one of language codes, data.pairs names these)"
            )
        others = [n for n in self.ignored if listed is None and n.lower() != ROW_NUMBER]
        if others:
            told = ", ".join(f"{shown(n, 40)!r} ({self.ignored[n]})" for n in others[:10])
            more = f" and {len(others) - 10} more" if len(others) > 10 else ""
            self.notes[f"columns ignored: {told}{more}"] = None
        schema = pa.schema([(name, TEXT) for name in languages])
        batches = [
            pa.record_batch(
                [chunk[name] if name in chunk else pa.nulls(rows, TEXT) for name in languages],
                schema=schema,
            )
            for rows, chunk in self._chunks
            if rows
        ]
        return SourceTable(
            table=pa.Table.from_batches(batches, schema),
            ignored=dict(self.ignored),
            blank={name: count for name in languages if (count := self._blank.get(name, 0))},
            notes=tuple(self.notes),
            rows_read=self.rows,
        )


def stray(place: str, name: str, value: object) -> str:
    """A sentence for a value that is no text."""
    return (
        f"{place}: holds {shown(repr(value))} in the column {name!r}; it must hold sentences "
        f"(name the columns to use in data.languages)"
    )


def _few(names: Sequence[str]) -> str:
    shown_names = [shown(name) for name in names[:12]]
    return ", ".join(shown_names) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
