"""Mined negatives: those that a slow double loop over all sentences finds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from search.data.corpus import Corpus
from search.data.negatives import ANCHORS_A_CALL, hardest, mine
from search.data.pairs import Pairs
from search.data.tokens import Sentences, TokenisedCorpus, tokenise
from search.settings.negatives.mined import MinedNegatives

WIDTH = 4
ROWS = 40


def units(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)


@pytest.fixture
def corpus() -> TokenisedCorpus:
    """Three languages with gaps, in which some rows share a sentence; the pivot is in the middle.

    Korean has four sentences only.
    """
    columns: dict[str, list[str | None]] = {
        "de": [f"d{row % 29}" if row % 7 else None for row in range(ROWS)],
        "en": [f"e{row % 31}" if row % 5 else None for row in range(ROWS)],
        "ko": [f"k{row}" if row in (3, 8, 21, 36) else None for row in range(ROWS)],
    }
    return tokenise(Corpus.of(columns), "en", lambda texts: [[len(text)] for text in texts])


class Table:
    """An encoder that looks its vectors up, and remembers what it was asked for."""

    def __init__(self, corpus: TokenisedCorpus, seed: int = 0) -> None:
        self.vectors = units(*corpus.lengths.shape, WIDTH, seed=seed)
        self.asked: list[tuple[int, int]] = []

    def __call__(self, sentences: Sentences) -> Tensor:
        pairs = list(zip(sentences.language.tolist(), sentences.row.tolist(), strict=True))
        self.asked += pairs
        return torch.stack([self.vectors[language, row] for language, row in pairs])


def qualifying(
    anchor: Tensor,
    positive: Tensor,
    candidates: list[tuple[int, Tensor, bool]],
    margin: float | None,
) -> list[int]:
    """The names of the candidates (name, vector, is the same) that are negatives, hardest first."""
    true = float(anchor @ positive)
    found = []
    for name, vector, same in candidates:
        similarity = float(anchor @ vector)
        if same:
            continue
        # "Less similar by a share of the similarity", on whichever side of zero that is.
        if margin is not None and similarity >= true - (1 - margin) * abs(true):
            continue
        found.append((similarity, name))
    return [name for _, name in sorted(found, reverse=True)]


def repeated(names: list[int], count: int, none: int) -> list[int]:
    names = names[:count] or [none]
    return [names[k % len(names)] for k in range(count)]


@pytest.mark.parametrize("margin", [None, 1.0, 0.95, 0.3, 0.01])
@pytest.mark.parametrize(("queries", "pool"), [(1, 1), (30, 25), (ANCHORS_A_CALL + 6, 7)])
def test_the_hardest_are_those_of_a_slow_loop(
    queries: int, pool: int, margin: float | None
) -> None:
    anchor, positive, candidate = (
        units(size, WIDTH, seed=seed) for seed, size in enumerate((queries, queries, pool))
    )
    rng = np.random.default_rng(0)
    same = rng.random((queries, pool)) < 0.1
    for count in (1, 3, 10):
        found = hardest(anchor, positive, candidate, same.__getitem__, count, margin)
        expected = [
            repeated(
                qualifying(a, p, list(zip(range(pool), candidate, s, strict=True)), margin),
                count,
                -1,
            )
            for a, p, s in zip(anchor, positive, same.tolist(), strict=True)
        ]
        assert found.tolist() == expected
        assert found.dtype == np.int64
    if queries > 1 and margin is not None:
        assert ((anchor * positive).sum(1) < 0).any()
        assert -1 in found  # for some, nothing qualifies
        assert any(0 < len(set(row)) < 10 for row in found.tolist() if -1 not in row)


def test_the_margin_by_hand() -> None:
    east, north, west = torch.eye(2)[0], torch.eye(2)[1], -torch.eye(2)[0]

    def at(degrees: float) -> Tensor:
        return torch.tensor([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]).float()

    def found(positive: Tensor, margin: float | None) -> list[int]:
        pool = torch.stack([at(0), at(29), at(31), north, at(119), at(121), west])
        none = np.zeros((1, 7), dtype=np.bool_)
        chosen = hardest(east[None], positive[None], pool, none.__getitem__, 7, margin)
        return sorted(set(chosen[0].tolist()))

    # The translation's similarity is cos 0 = 1: a negative's must be below 0.866.
    assert found(east, np.cos(np.radians(30))) == [2, 3, 4, 5, 6]
    assert found(east, 1.0) == [1, 2, 3, 4, 5, 6]
    assert found(east, None) == [0, 1, 2, 3, 4, 5, 6]
    # It is cos 120 = -0.5: with margin 1 a negative's must be below that; below -0.75 with 0.5.
    assert found(at(120), 1.0) == [5, 6]
    assert found(at(120), 0.5) == [6]
    assert found(west, 0.5) == [-1]  # none can be less similar than what points the other way


def test_an_empty_pool_has_nothing() -> None:
    none = np.zeros((3, 0), dtype=np.bool_)
    found = hardest(units(3, 2), units(3, 2), torch.zeros(0, 2), none.__getitem__, 2, 0.95)
    assert found.tolist() == [[-1, -1]] * 3


@pytest.mark.parametrize("epochs", [range(1), range(3, 5)])
@pytest.mark.parametrize("margin", [None, 0.05])
def test_mining_equals_a_slow_loop(
    corpus: TokenisedCorpus, margin: float | None, epochs: range
) -> None:
    pairs = Pairs(corpus, 30, 5.0, 7)
    encode = Table(corpus)
    settings = MinedNegatives(count=3, margin=margin, pool=None)
    found = mine(settings.mining(), pairs, corpus, epochs, encode, seed=0)
    expected = np.full((3, ROWS, 3), -1)
    for epoch in epochs:
        for batch in pairs.epoch(epoch, 30):
            for (anchor, first), (language, row) in zip(
                zip(batch.anchor.language.tolist(), batch.anchor.row.tolist(), strict=True),
                zip(batch.positive.language.tolist(), batch.positive.row.tolist(), strict=True),
                strict=True,
            ):
                assert first == row
                candidates = [
                    (
                        other,
                        encode.vectors[language, other],
                        any(  # some row holds both
                            corpus.text[anchor, line] == corpus.text[anchor, row]
                            and corpus.text[language, line] == corpus.text[language, other]
                            for line in range(ROWS)
                        ),
                    )
                    for other in range(ROWS)
                    if corpus.lengths[language, other] > 0
                ]
                names = qualifying(
                    encode.vectors[anchor, row],
                    encode.vectors[language, row],
                    candidates,
                    margin,
                )
                expected[language, row] = repeated(names, 3, none=row)
    assert found.dtype == np.int32
    assert found.tolist() == expected.tolist()
    assert (found == -1).any()  # pairs that these epochs do not hold
    own = [(language, row) for language in range(3) for row in range(ROWS)
           if found[language, row].tolist() == [row] * 3]  # fmt: skip
    assert bool(own) == (margin is not None)
    assert len(encode.asked) == len(set(encode.asked))  # each sentence is encoded once


def test_no_negative_is_ever_parallel_to_its_anchor(corpus: TokenisedCorpus) -> None:
    pairs = Pairs(corpus, None, 1.0, 0)
    settings = MinedNegatives(count=4, margin=None, pool=None)
    found = mine(settings.mining(), pairs, corpus, range(1), Table(corpus), seed=0)
    for batch in pairs.epoch(0, 16, found):
        assert (batch.negative.language == batch.positive.language.repeat(4)).all()
        same = corpus.is_same(batch.anchor, batch.negative)
        assert not same[np.arange(len(same)).repeat(4), np.arange(4 * len(same))].any()
        assert (corpus.lengths[batch.negative.language, batch.negative.row] > 0).all()


def test_a_pool_is_drawn_from_the_rows_and_anew_for_other_epochs_and_seeds(
    corpus: TokenisedCorpus,
) -> None:
    pairs = Pairs(corpus, None, 1.0, 0)

    def found(start: int, seed: int, pool: int | None = 12) -> tuple[set[int], list[list[int]]]:
        settings = MinedNegatives(count=2, margin=None, pool=pool)
        rows = mine(settings.mining(), pairs, corpus, range(start, start + 1), Table(corpus), seed)
        german = corpus.lengths[0] > 0  # every one of them is in some pair of every epoch
        return set(rows[0][german].ravel().tolist()) - {-1}, rows[0].tolist()

    rows, first = found(0, 0)
    assert 2 < len(rows) <= 12
    assert found(0, 0)[1] == first
    assert found(1, 0)[1] != first
    assert found(0, 1)[1] != first
    assert found(0, 0, pool=None)[1] == found(0, 1, pool=None)[1] == found(1, 0, pool=None)[1]
    assert found(0, 0, pool=ROWS)[1] == found(0, 0, pool=10 * ROWS)[1] == found(0, 0, None)[1]
    assert len(found(0, 0, pool=None)[0]) > 12


def test_a_pool_without_a_language_leaves_it_without_negatives(corpus: TokenisedCorpus) -> None:
    pairs = Pairs(corpus, None, 1.0, 0)
    settings = MinedNegatives(count=2, margin=None, pool=2)
    korean = np.flatnonzero(corpus.lengths[2])
    bare = 0
    for seed in range(20):
        found = mine(settings.mining(), pairs, corpus, range(1), Table(corpus), seed)[2]
        if (found[korean] == korean[:, None]).all():
            bare += 1
        assert (np.delete(found, korean, axis=0) == -1).all()
    assert 0 < bare < 20


def test_other_vectors_find_other_negatives(corpus: TokenisedCorpus) -> None:
    pairs = Pairs(corpus, None, 1.0, 0)
    settings = MinedNegatives(margin=None)

    def found(encode: Callable[[Sentences], Tensor]) -> list[object]:
        rows = mine(settings.mining(), pairs, corpus, range(1), encode, seed=0)
        return list(rows.tolist())

    assert found(Table(corpus, 1)) == found(Table(corpus, 1))
    assert found(Table(corpus, 1)) != found(Table(corpus, 2))
