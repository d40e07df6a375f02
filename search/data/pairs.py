"""Pairs to train on, drawn language by language."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.data.tokens import Ints, Sentences, TokenisedCorpus


@dataclass(frozen=True)
class Batch:
    """B pairs of a sentence and its translation.

    Attributes:
        anchor: the pivot's sentence where the row has one, otherwise another language's.
        positive: its translation.
        row: (B,) of the corpus.
        negative: N mined sentences, as many for each pair, those of the first pair first; none
            where nothing was mined.
    """

    anchor: Sentences
    positive: Sentences
    row: Ints
    negative: Sentences

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, part: slice) -> Batch:
        """Some pairs, with their negatives."""
        start, stop, _ = part.indices(len(self))
        each = len(self.negative) // max(1, len(self))
        mined = slice(start * each, stop * each)
        return Batch(self.anchor[part], self.positive[part], self.row[part], self.negative[mined])


class Pairs:
    """The pairs of a corpus, and the order in which epochs meet them.

    Each language other than the pivot draws its rows in shuffled passes. An epoch takes a fixed
    number of pairs from each language and goes on where the last one ended, so that what epoch e
    holds follows from the seeds and e alone: an interrupted trial meets the same pairs again.

    Args:
        corpus: R rows in L languages.
        size: pairs an epoch; None for as many as there are.
        temperature: language l of n_l pairs gets a share proportional to
            ``n_l ** (1 / temperature)``.
        seed: decides which pairs each epoch draws.
        order_seed: decides their order within it; None for ``seed``.
    """

    def __init__(
        self,
        corpus: TokenisedCorpus,
        size: int | None,
        temperature: float,
        seed: int,
        order_seed: int | None = None,
    ) -> None:
        self._corpus = corpus
        self._seed = seed
        self._order_seed = seed if order_seed is None else order_seed
        self._pairings = corpus.pairings
        self._pass: dict[int, tuple[int, NDArray[np.int32]]] = {}
        counts = np.asarray([len(rows) for rows, _ in self._pairings.values()], dtype=np.float64)
        self.size = int(counts.sum()) if size is None else size
        share = counts ** (1 / temperature)
        quota = self.size * share / share.sum()
        floor = np.floor(quota).astype(int)
        # The largest remainders get what rounding down left over.
        floor[np.argsort(floor - quota, kind="stable")[: self.size - floor.sum()]] += 1
        self.quota = dict(zip(self._pairings, floor.tolist(), strict=True))

    def steps(self, batch_size: int) -> int:
        """Steps an epoch."""
        return max(1, self.size // batch_size)

    def epoch(
        self,
        epoch: int,
        batch_size: int,
        negatives: NDArray[np.int32] | None = None,
        *,
        one_language: bool = False,
    ) -> Iterator[Batch]:
        """The batches of an epoch, counted from 0; pairs that fill no batch are left out.

        Args:
            negatives: (L, R, K) rows of the mined negatives of each positive, in its language.
            one_language: fill a batch with pairs of one language, as often as these suffice; what
                is left of all languages fills mixed batches.
        """
        anchor, positive = self.drawn(epoch)
        rng = np.random.default_rng([self._order_seed, epoch])
        order = rng.permutation(len(anchor))
        if one_language:
            order = _by_language(order, positive.language, batch_size, rng)
        for step in range(self.steps(batch_size)):
            chosen = order[step * batch_size : (step + 1) * batch_size]
            mined = Sentences(np.zeros(0, np.int64), np.zeros(0, np.int64))
            if negatives is not None:
                language, row = positive.language[chosen], positive.row[chosen]
                rows = negatives[language, row].astype(np.int64)
                mined = Sentences(language.repeat(rows.shape[1]), rows.ravel())
            yield Batch(anchor[chosen], positive[chosen], anchor.row[chosen], mined)

    def drawn(self, epoch: int) -> tuple[Sentences, Sentences]:
        """Anchors and positives of an epoch, language by language."""
        anchors, positives = [], []
        for language, quota in self.quota.items():
            drawn = self._draw(language, epoch * quota, quota)
            rows, partner = (column[drawn] for column in self._pairings[language])
            anchors.append(Sentences(partner, rows))
            positives.append(Sentences(np.full(quota, language), rows))
        return Sentences.join(anchors), Sentences.join(positives)

    def _draw(self, language: int, start: int, count: int) -> NDArray[np.int32]:
        """Places start to start + count in a language's endless sequence of shuffled passes."""
        size = len(self._pairings[language][0])
        passes = range(start // size, (start + count - 1) // size + 1) if count else range(0)
        drawn = [np.zeros(0, np.int32)]
        for number in passes:
            low, high = start - number * size, start + count - number * size
            drawn.append(self._shuffled(language, number)[max(low, 0) : min(high, size)])
        return np.concatenate(drawn)

    def _shuffled(self, language: int, number: int) -> NDArray[np.int32]:
        """A pass; the last one drawn is kept, since an epoch is often a small part of it."""
        if language not in self._pass or self._pass[language][0] != number:
            rng = np.random.default_rng([self._seed, language, number, 1])
            shuffled = rng.permutation(len(self._pairings[language][0]))
            self._pass[language] = number, shuffled.astype(np.int32)
        return self._pass[language][1]


def _by_language(
    order: NDArray[np.int64], language: Ints, batch_size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Arrange pairs so that their batches are of one language each, and these in random order.

    Args:
        order: of the pairs.
        language: of each pair, by its number.
    """
    whole, left = [], []
    for name in np.unique(language):
        own = order[language[order] == name]
        count = len(own) // batch_size * batch_size
        whole.append(own[:count])
        left.append(own[count:])
    rest = rng.permutation(np.concatenate(left))
    count = len(rest) // batch_size * batch_size
    batches = np.concatenate([*whole, rest[:count]]).reshape(-1, batch_size)
    return np.concatenate([rng.permutation(batches).ravel(), rest[count:]])
