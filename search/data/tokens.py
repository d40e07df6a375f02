"""Tokenised parallel sentences: flat arrays, no padding, plain data between processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray

from components.languages import FamilyTable
from components.ragged import Tokens
from search.data.corpus import Corpus
from search.store import Store

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Sentences:
    """Some sentences of a corpus: sentence i is row ``row[i]`` of language ``language[i]``.

    Attributes:
        language: (B,) index into the corpus' languages.
        row: (B,) row.
    """

    language: Ints
    row: Ints

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, chosen: slice | Ints) -> Sentences:
        return Sentences(self.language[chosen], self.row[chosen])

    @classmethod
    def join(cls, parts: Sequence[Sentences]) -> Sentences:
        """End to end."""
        return cls(
            np.concatenate([part.language for part in parts]),
            np.concatenate([part.row for part in parts]),
        )


@dataclass(frozen=True)
class TokenisedCorpus:
    """Token ids of aligned sentences.

    Attributes:
        languages: L codes; the pivot is one of them.
        pivot: index of the pivot.
        ids: token ids of all sentences, language by language and row by row, int32.
        starts: (L, R + 1) int64: sentence (l, r) is ``ids[starts[l, r]:starts[l, r + 1]]``, empty
            where it is missing.
        meaning: (R,) int64: rows with the same number share a sentence in some language.
        family_of_language: L names of families.
    """

    languages: tuple[str, ...]
    pivot: int
    ids: NDArray[np.int32]
    starts: Ints
    meaning: Ints
    family_of_language: tuple[str, ...]

    @property
    def families(self) -> tuple[str, ...]:
        """The F families among the languages, in order of their names."""
        return tuple(sorted(set(self.family_of_language)))

    def family(self, sentences: Sentences, device: torch.device | str = "cpu") -> torch.Tensor:
        """Index into `families` of each sentence, (B,) int64."""
        index_L = np.asarray([self.families.index(name) for name in self.family_of_language])
        return torch.from_numpy(index_L[sentences.language]).to(device)

    @cached_property
    def lengths(self) -> Ints:
        """Tokens of each sentence, (L, R); 0 where it is missing."""
        return np.diff(self.starts, axis=1)

    @cached_property
    def pairings(self) -> dict[int, tuple[Ints, Ints]]:
        """For each language but the pivot, the rows in which it has a partner, and which.

        The partner is the pivot where the row has it, otherwise the first language it has.
        """
        present = self.lengths > 0
        order = [self.pivot, *(i for i in range(len(present)) if i != self.pivot)]
        found = {}
        for language in order[1:]:
            others = [i for i in order if i != language]
            first = present[others].argmax(axis=0)
            rows = np.flatnonzero(present[language] & present[others].any(axis=0))
            if len(rows):
                found[language] = rows, np.asarray(others)[first[rows]]
        return found

    @property
    def counts(self) -> list[int]:
        """Sentences of each language, missing ones not counted."""
        return [int(count) for count in (self.lengths > 0).sum(axis=1)]

    @property
    def digest(self) -> str:
        """SHA-256 of the tokens and of how they are cut."""
        sha = hashlib.sha256(self.ids.tobytes())
        sha.update(self.starts.tobytes())
        return sha.hexdigest()

    def present(self) -> Sentences:
        """Every sentence that is not missing, language by language."""
        return Sentences(*np.nonzero(self.lengths))

    def tokens(self, sentences: Sentences, device: torch.device | str = "cpu") -> Tokens:
        """Pack the tokens of some sentences, none of them missing."""
        starts = self.starts[sentences.language, sentences.row]
        lengths = self.starts[sentences.language, sentences.row + 1] - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        place = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        ids = torch.from_numpy(self.ids[place].astype(np.int64))
        return Tokens(ids.to(device), torch.from_numpy(offsets).to(device))


def tokenise(
    corpus: Corpus,
    pivot: str,
    tokenize: Callable[[list[str]], list[list[int]]],
    table: FamilyTable | None = None,
    stored: tuple[Store, str] | None = None,
) -> TokenisedCorpus:
    """Tokenise a corpus once, for every trial and, where the result is stored, for later searches.

    Args:
        tokenize: sentences -> token ids of each.
        table: leads from the languages to their families.
        stored: where, and everything that the ids depend on beside the sentences.
    """
    compute = partial(_tokenised, corpus, tokenize)
    if stored is None:
        arrays = compute()
    else:
        store, tokenization = stored
        sha = hashlib.sha256(tokenization.encode())
        sha.update(json.dumps(list(corpus.columns.values()), ensure_ascii=False).encode())
        found = store.build(sha.hexdigest(), f"tokens of {len(corpus)} rows", compute, wait=True)
        assert found is not None
        arrays = found
    return TokenisedCorpus(
        languages=tuple(corpus.languages),
        pivot=corpus.languages.index(pivot),
        ids=arrays["ids"].numpy(),
        starts=arrays["starts"].numpy(),
        meaning=arrays["meaning"].numpy(),
        family_of_language=families_of(corpus, table or FamilyTable()),
    )


def _tokenised(
    corpus: Corpus, tokenize: Callable[[list[str]], list[list[int]]]
) -> dict[str, torch.Tensor]:
    """The arrays of a `TokenisedCorpus`."""
    flat: list[NDArray[np.int32]] = []
    lengths = np.zeros((len(corpus.columns), len(corpus)), dtype=np.int64)
    for index, column in enumerate(corpus.columns.values()):
        present = [(row, text) for row, text in enumerate(column) if text is not None]
        for (row, _), ids in zip(present, tokenize([text for _, text in present]), strict=True):
            flat.append(np.asarray(ids, dtype=np.int32))
            lengths[index, row] = len(ids)
    ends = np.cumsum(lengths.ravel()).reshape(lengths.shape)
    arrays = {
        "ids": np.concatenate(flat) if flat else np.zeros(0, np.int32),
        "starts": np.concatenate([ends[:, :1] - lengths[:, :1], ends], axis=1),
        "meaning": _meanings(corpus),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def families_of(corpus: Corpus, table: FamilyTable) -> tuple[str, ...]:
    """Family of each language: by its code or, where that is unknown, by the script it is in."""
    return tuple(
        table.of(code) or table.of_text(" ".join(text for text in column[:1000] if text))
        for code, column in corpus.columns.items()
    )


def _meanings(corpus: Corpus) -> Ints:
    """Number the rows so that rows which share a sentence share a number (union-find)."""
    parent = list(range(len(corpus)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for column in corpus.columns.values():
        first: dict[str, int] = {}
        for row, text in enumerate(column):
            if text is not None:
                parent[root(row)] = root(first.setdefault(text, row))
    return np.asarray([root(row) for row in range(len(corpus))], dtype=np.int64)
