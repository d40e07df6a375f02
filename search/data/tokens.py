"""Tokenised parallel sentences: flat arrays, no padding, plain data between processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from components.languages import FamilyTable
from components.ragged import Tokens
from search.data.corpus import Corpus
from search.data.prompts import Prompts
from search.runtime.progress import tell
from search.runtime.store import Store

FORMAT = 2  # of what is stored
SENTENCES_A_CALL = 1024

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


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

    def __getitem__(self, chosen: slice | Ints | Bools) -> Sentences:
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
        text: (L, R) int64: equal numbers are the same text in the same language (see `comparison`);
            -1 where the sentence is missing.
        family_of_language: L names of families.
    """

    languages: tuple[str, ...]
    pivot: int
    ids: NDArray[np.int32]
    starts: Ints
    text: Ints
    family_of_language: tuple[str, ...]

    @property
    def families(self) -> tuple[str, ...]:
        """The F families among the languages, in order of their names."""
        return tuple(sorted(set(self.family_of_language)))

    @property
    def family_by_language(self) -> dict[str, str]:
        """Language -> name of its family."""
        return dict(zip(self.languages, self.family_of_language, strict=True))

    def family(self, sentences: Sentences, device: torch.device | str = "cpu") -> torch.Tensor:
        """Index into `families` of each sentence, (B,) int64."""
        index_L = np.asarray([self.families.index(name) for name in self.family_of_language])
        return torch.from_numpy(index_L[sentences.language]).to(device, non_blocking=True)

    @cached_property
    def lengths(self) -> Ints:
        """Tokens of each sentence, (L, R); 0 where it is missing."""
        return np.diff(self.starts, axis=1)

    @property
    def rows(self) -> int:
        """The number R of rows."""
        return int(self.starts.shape[1]) - 1

    @cached_property
    def _rows_of_text(self) -> tuple[Ints, Ints, Ints]:
        """The rows that hold each text: sorted numbers, where the rows of each begin, the rows."""
        language, row = np.nonzero(self.text >= 0)
        number = self.text[language, row]
        order = np.argsort(number, kind="stable")
        numbers, counts = np.unique(number, return_counts=True)
        return numbers, np.concatenate([[0], np.cumsum(counts)]), row[order]

    def is_same(self, left: Sentences, right: Sentences) -> NDArray[np.bool_]:
        """Which of some sentences are the same as which of others, (B, C).

        Two sentences are the same if some row holds the texts of both: in one language, the same
        text; in two, a text and its recorded translation. A text that stands in several rows has
        several translations, all of them right. Nothing is passed on from row to row.
        """
        left_U, of_left = np.unique(self.text[left.language, left.row], return_inverse=True)
        right_V, of_right = np.unique(self.text[right.language, right.row], return_inverse=True)
        same_UV = np.zeros((len(left_U), len(right_V)), dtype=np.bool_)
        if same_UV.size:
            numbers, starts, rows = self._rows_of_text
            place_U = np.searchsorted(numbers, left_U)
            counts_U = starts[place_U + 1] - starts[place_U]
            ends = np.cumsum(counts_U)
            # Every row of every left text, and in it the texts in the languages on the right.
            met = rows[np.arange(ends[-1]) + np.repeat(starts[place_U] - ends + counts_U, counts_U)]
            owner = np.repeat(np.arange(len(left_U)), counts_U)
            for language in np.unique(right.language):
                beside = self.text[language, met]
                place = np.searchsorted(right_V, beside).clip(max=len(right_V) - 1)
                found = right_V[place] == beside
                same_UV[owner[found], place[found]] = True
        return same_UV[of_left][:, of_right]

    def is_same_in_parts(
        self, left: Sentences, right: Sentences
    ) -> Callable[[slice], NDArray[np.bool_]]:
        """Some of those on the left -> `is_same` of them alone, for many sentences."""
        return lambda part: self.is_same(left[part], right)

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
    def pair_count(self) -> int:
        """Pairs of a sentence and its partner, over all languages."""
        return sum(len(rows) for rows, _ in self.pairings.values())

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
        host = torch.from_numpy(offsets)
        # From pageable memory this is safe, and it does not wait for the device's work.
        return Tokens(ids.to(device, non_blocking=True), host.to(device, non_blocking=True), host)


def tokenise(
    corpus: Corpus,
    pivot: str,
    tokenize: Callable[[list[str]], list[list[int]]],
    table: FamilyTable | None = None,
    stored: tuple[Store, str] | None = None,
    prompts: Prompts | None = None,
) -> TokenisedCorpus:
    """Tokenise a corpus once, for every trial and, where the result is stored, for later searches.

    Args:
        tokenize: sentences -> token ids of each; it gets about a thousand sentences at a time.
        table: leads from the languages to their families.
        stored: where, and everything that the ids depend on beside the sentences and prompts.
        prompts: what stands before each sentence; nothing by default.
    """
    before = [(prompts or Prompts()).of(name == pivot) for name in corpus.languages]
    compute = partial(_tokenised, corpus, tokenize, before)
    if stored is None:
        arrays = compute()
    else:
        store, tokenization = stored
        about = json.dumps([FORMAT, tokenization, before, corpus.digest])
        key = hashlib.sha256(about.encode()).hexdigest()
        found = store.build(key, f"tokens of {len(corpus)} rows", compute, wait=True)
        assert found is not None
        arrays = found
    return TokenisedCorpus(
        languages=tuple(corpus.languages),
        pivot=corpus.languages.index(pivot),
        ids=arrays["ids"].numpy(),
        starts=arrays["starts"].numpy(),
        text=corpus.text_numbers,
        family_of_language=families_of(corpus, table or FamilyTable()),
    )


def _tokenised(
    corpus: Corpus, tokenize: Callable[[list[str]], list[list[int]]], before: Sequence[str]
) -> dict[str, torch.Tensor]:
    """The arrays of a `TokenisedCorpus` that are stored."""
    # Grown in place: a list of arrays, to be joined at the end, would take the memory twice.
    ids = bytearray()
    lengths = np.zeros((len(corpus.languages), len(corpus)), dtype=np.int64)
    for index, language in enumerate(corpus.languages):
        for rows, texts in corpus.batches(language, SENTENCES_A_CALL):
            tell("tokenising", index * len(corpus) + int(rows[0]), lengths.size)
            found = tokenize([before[index] + text for text in texts])
            lengths[index, rows] = [len(one) for one in found]
            ids += np.fromiter(chain.from_iterable(found), dtype=np.int32).data
    ends = np.cumsum(lengths.ravel()).reshape(lengths.shape)
    arrays = {
        "ids": np.frombuffer(ids, dtype=np.int32),
        "starts": np.concatenate([ends[:, :1] - lengths[:, :1], ends], axis=1)
        if len(corpus)
        else np.zeros((len(lengths), 1), np.int64),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def families_of(corpus: Corpus, table: FamilyTable) -> tuple[str, ...]:
    """Family of each language: by its code or, where that is unknown, by the script it is in."""
    return tuple(
        table.of(code) or table.of_text(" ".join(corpus.take(slice(1000)).texts(code)))
        for code in corpus.languages
    )
