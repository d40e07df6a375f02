"""Where each row of a source goes: to train on, to validate with, or out, and why."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from search.data.comparison import Ints
from search.data.corpus import Corpus
from search.data.holdout import shares_text

# Where a row goes. The order is that of reports.
PLACES = ("alone", "duplicate", "leaked", "unused", "train", "validation", "test")


class PlacedRows:
    """Rows of a source, and where each goes.

    Args:
        text_LR: numbers of their texts, -1 where missing.
    """

    def __init__(self, table: pa.Table, text_LR: Ints) -> None:
        self.table = table
        self.text_LR = text_LR
        self.place_R = np.full(text_LR.shape[1], PLACES.index("train"), dtype=np.int8)
        self.place_R[(text_LR >= 0).sum(axis=0) < 2] = PLACES.index("alone")

    def at(self, place: str) -> NDArray[np.bool_]:
        """The rows that go to a place, bool (R,)."""
        found: NDArray[np.bool_] = self.place_R == PLACES.index(place)
        return found

    def is_used(self) -> NDArray[np.bool_]:
        """The rows to train on, to validate or to test with, bool (R,)."""
        return self.at("train") | self.at("validation") | self.at("test")

    def move(self, place: str, other: str, chosen_R: NDArray[np.bool_] | None = None) -> None:
        """Send rows of a place, all or those of a mask, to another."""
        rows = self.at(place) if chosen_R is None else self.at(place) & chosen_R
        self.place_R[rows] = PLACES.index(other)

    def drop_duplicates(self) -> None:
        """Of rows that are equal in every language, keep the first."""
        (rows,) = np.nonzero(self.at("train"))
        _, first = np.unique(self.text_LR[:, rows].T, axis=0, return_index=True)
        again = np.ones(len(self.place_R), dtype=np.bool_)
        again[rows[first]] = False
        self.move("train", "duplicate", again)

    def drop_leaks(self, text_LS: Ints) -> None:
        """Drop the rows to train on that share a sentence with other rows."""
        self.move("train", "leaked", shares_text(self.text_LR, text_LS))

    def limit(self, place: str, rows: int | None, rng: np.random.Generator) -> None:
        """Keep at most so many rows of a place, drawn at random."""
        (there,) = np.nonzero(self.at(place))
        if rows is not None and rows < len(there):
            self.place_R[rng.permutation(there)[rows:]] = PLACES.index("unused")

    def corpus(self, place: str) -> Corpus:
        """The rows of a place, in their order."""
        return Corpus(self.table, self.text_LR).keep(self.at(place))
