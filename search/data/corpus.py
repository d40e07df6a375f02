"""Parallel sentences as text, in Arrow tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from search.data.comparison import Ints, number_texts


@dataclass(frozen=True)
class Corpus:
    """Aligned sentences.

    Attributes:
        table: a column of type large_string for each language, null where a row lacks it.
        numbers: `text_numbers`, where these are known.
    """

    table: pa.Table
    numbers: Ints | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[str | None]]) -> Corpus:
        """A corpus of plain Python lists, one a language, None where a row lacks it."""
        arrays = [pa.array(column, pa.large_string()) for column in columns.values()]
        return cls(pa.table(arrays, names=list(columns)))

    @property
    def languages(self) -> list[str]:
        """The languages, in the order given."""
        return list(self.table.column_names)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def take(self, rows: Sequence[int] | Ints | slice) -> Corpus:
        """Some of the rows, in the order given."""
        index = np.arange(len(self))[rows] if isinstance(rows, slice) else rows
        numbers = None if self.numbers is None else self.numbers[:, index]
        return Corpus(self.table.take(pa.array(index, pa.int64())), numbers)

    def keep(self, mask_R: NDArray[np.bool_]) -> Corpus:
        """The rows for which a mask holds, in their order."""
        numbers = None if self.numbers is None else self.numbers[:, mask_R]
        # `lookup` copies a column that has several chunks. They are joined a column at a time: all
        # at once would hold the texts twice.
        mask = pa.array(mask_R)
        columns = [column.filter(mask).combine_chunks() for column in self.table.columns]
        return Corpus(pa.table(columns, names=self.languages), numbers)

    def texts(self, language: str) -> list[str]:
        """All sentences of a language, missing ones left out."""
        found: list[str] = self._column(language).drop_null().to_pylist()
        return found

    def batches(self, language: str, size: int) -> Iterator[tuple[Ints, list[str]]]:
        """The sentences of a language with their rows, a bounded number at a time."""
        column = self._column(language)
        for start in range(0, len(self), size):
            part = column.slice(start, size)
            rows = np.flatnonzero(pc.is_valid(part).to_numpy())
            if len(rows):
                yield start + rows, part.drop_null().to_pylist()

    def lookup(self, language_B: Ints, row_B: Ints) -> list[str]:
        """Some sentences, by index of language and row, none of them missing."""
        found = np.empty(len(row_B), dtype=object)
        for language in np.unique(language_B):
            (at,) = np.nonzero(language_B == language)
            column = self.table.column(int(language))
            found[at] = column.take(pa.array(row_B[at], pa.int64())).to_pylist()
        return list(found)

    def first_texts(self, language: str) -> list[str]:
        """One sentence a row: that of a language or, where it is missing, the first there is."""
        columns = [self._column(language), *self.table.columns]
        found: list[str] = pc.coalesce(*columns).to_pylist()
        return found

    @cached_property
    def text_numbers(self) -> Ints:
        """(L, R): equal numbers are the same text in the same language (see `number_texts`)."""
        return number_texts(self.table.columns) if self.numbers is None else self.numbers

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all sentences, of their order and of the gaps between them."""
        sha = hashlib.sha256(f"{len(self)} {len(self.languages)}".encode())
        for column in self.table.columns:
            lengths = pc.fill_null(pc.binary_length(column), -1)
            sha.update(lengths.to_numpy().astype(np.int64).tobytes())
            for chunk in column.chunks:
                # The texts alone: what stands under a null, or around a slice, is no part of them.
                texts = chunk.drop_null()
                _, offsets, data = texts.buffers()
                if data is None or not len(texts):
                    continue
                bounds = np.frombuffer(offsets, np.int64)[texts.offset :][: len(texts) + 1]
                sha.update(memoryview(data)[int(bounds[0]) : int(bounds[-1])])
        return sha.hexdigest()

    def _column(self, language: str) -> pa.ChunkedArray:
        return self.table.column(self.languages.index(language))
