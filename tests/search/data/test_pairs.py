"""Pairs: fair to every language, and the same whenever an epoch is asked for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from search.data.corpus import Corpus
from search.data.pairs import Batch, Pairs
from search.data.tokens import TokenisedCorpus, tokenise

# How many rows each language has; the pivot stands in the middle on purpose.
ROWS = {"de": 50, "en": 50, "ko": 20, "gu": 7}


def corpus_of(columns: dict[str, list[str | None]], pivot: str = "en") -> TokenisedCorpus:
    return tokenise(Corpus.of(columns), pivot, lambda texts: [[len(text)] for text in texts])


@pytest.fixture
def corpus() -> TokenisedCorpus:
    return corpus_of(
        {
            name: [f"{name} {row}" if row < rows else None for row in range(50)]
            for name, rows in ROWS.items()
        }
    )


def listed(batches: list[Batch]) -> list[tuple[int, int, int]]:
    """Anchor's language, positive's language, row; in order."""
    found = []
    for batch in batches:
        assert (batch.anchor.row == batch.positive.row).all()
        columns = (batch.anchor.language, batch.positive.language, batch.anchor.row)
        found += list(zip(*(column.tolist() for column in columns), strict=True))
    return found


def test_without_a_size_an_epoch_is_every_pair_once(corpus: TokenisedCorpus) -> None:
    pairs = Pairs(corpus, None, temperature=1.0, seed=0)
    assert pairs.size == 77
    found = listed(list(pairs.epoch(0, 7)))
    assert sorted(found) == sorted(
        (1, language, row)
        for language, name in enumerate(ROWS)
        if name != "en"
        for row in range(ROWS[name])
    )


def test_an_epoch_follows_from_seed_and_number_alone(corpus: TokenisedCorpus) -> None:
    def epoch(seed: int, number: int, *before: int) -> list[tuple[int, int, int]]:
        pairs = Pairs(corpus, 30, 3.0, seed)
        for other in before:
            list(pairs.epoch(other, 8))
        return listed(list(pairs.epoch(number, 8)))

    assert epoch(1, 2) == epoch(1, 2, 0, 1) == epoch(1, 2, 5)
    assert epoch(1, 2) != epoch(1, 3)
    assert epoch(1, 2) != epoch(2, 2)


def test_a_part_of_a_batch_holds_its_pairs() -> None:
    corpus = corpus_of({"en": ["a", "a", "b", "c"], "de": ["w", "x", "y", "z"]})
    (batch,) = Pairs(corpus, None, 1.0, 0).epoch(0, 4)
    half = batch[1:3]
    assert (len(half), half.positive.row.tolist()) == (2, batch.positive.row[1:3].tolist())


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0, 100.0])
@pytest.mark.parametrize("size", [1, 2, 3, 10, 64, 77, 500])
def test_quotas_equal_those_of_a_slow_count(
    corpus: TokenisedCorpus, size: int, temperature: float
) -> None:
    counts = [ROWS[name] for name in ("de", "ko", "gu")]
    weights = [count ** (1 / temperature) for count in counts]
    exact = [size * weight / sum(weights) for weight in weights]
    expected = [int(share) for share in exact]
    while sum(expected) < size:
        left = [share - given for share, given in zip(exact, expected, strict=True)]
        expected[left.index(max(left))] += 1
    quota = Pairs(corpus, size, temperature, 0).quota
    assert list(quota.values()) == expected
    assert list(quota) == [0, 2, 3]


def test_a_high_temperature_evens_languages_out_and_one_keeps_them_in_proportion(
    corpus: TokenisedCorpus,
) -> None:
    assert set(Pairs(corpus, 300, 1e6, 0).quota.values()) == {100}
    assert list(Pairs(corpus, 154, 1.0, 0).quota.values()) == [100, 40, 14]


@pytest.mark.parametrize("size", [5, 30, 200])
def test_every_row_of_a_language_is_met_before_any_repeats(
    corpus: TokenisedCorpus, size: int
) -> None:
    pairs = Pairs(corpus, size, 5.0, 3)
    met: dict[int, list[int]] = {language: [] for language in pairs.quota}
    for epoch in range(12):
        # One batch an epoch, so that no pair is left out and the order inside does not matter.
        counted = Counter(listed(list(pairs.epoch(epoch, size))))
        for (_, language, row), count in counted.items():
            met[language] += [row] * count
        for language, rows in met.items():
            seen = Counter(rows)
            there = ROWS[list(ROWS)[language]]
            times = [seen[row] for row in range(there)]
            assert max(times) - min(times) <= 1
            assert sum(times) == len(rows) == pairs.quota[language] * (epoch + 1)


def test_passes_are_shuffled_anew(corpus: TokenisedCorpus) -> None:
    pairs = Pairs(corpus, None, 1.0, 0)
    assert listed(list(pairs.epoch(0, 77))) != listed(list(pairs.epoch(1, 77)))


def test_rows_without_the_pivot_pair_up_and_nulls_are_never_drawn() -> None:
    columns: dict[str, list[str | None]] = {
        "de": ["d0", "d1", None, "d3", "d4", None],
        "en": ["e0", None, "e2", None, None, "e5"],
        "ko": ["k0", "k1", "k2", "k3", None, None],
    }
    corpus = corpus_of(columns)
    pairs = Pairs(corpus, None, 1.0, 0)
    found = sorted(listed(list(pairs.epoch(0, pairs.size))))
    # Row 0 has all three: each language pairs with the pivot. Rows 1 and 3 have no pivot, so de
    # and ko are each other's partner. Rows 4 and 5 have one sentence each: no pair.
    assert found == sorted(
        [(1, 0, 0), (1, 2, 0), (2, 0, 1), (0, 2, 1), (1, 2, 2), (2, 0, 3), (0, 2, 3)]
    )
    for anchor, positive, row in found:
        assert corpus.lengths[anchor, row] > 0
        assert corpus.lengths[positive, row] > 0


def test_a_language_without_pairs_is_left_out() -> None:
    corpus = corpus_of({"en": ["a", "b"], "de": ["x", "y"], "ko": [None, None]})
    assert Pairs(corpus, None, 5.0, 0).quota == {1: 2}


@pytest.mark.parametrize(
    ("size", "batch_size", "steps"), [(30, 8, 3), (32, 8, 4), (7, 8, 1), (8, 8, 1)]
)
def test_pairs_that_fill_no_batch_are_left_out_unless_they_are_all(
    corpus: TokenisedCorpus, size: int, batch_size: int, steps: int
) -> None:
    pairs = Pairs(corpus, size, 5.0, 0)
    sizes = [len(batch) for batch in pairs.epoch(0, batch_size)]
    assert pairs.steps(batch_size) == len(sizes) == steps
    assert set(sizes) == {min(size, batch_size)}


def test_languages_are_mixed_within_an_epoch(corpus: TokenisedCorpus) -> None:
    order = np.array([positive for _, positive, _ in listed(list(Pairs(corpus, 60, 100.0, 0)
                                                                 .epoch(0, 60)))])  # fmt: skip
    assert (np.diff(order) != 0).sum() > 10


def test_an_epoch_deals_out_what_was_drawn_for_it(corpus: TokenisedCorpus) -> None:
    pairs = Pairs(corpus, 30, 3.0, 1)
    for epoch in (0, 4):
        anchor, positive = pairs.drawn(epoch)
        assert (anchor.row == positive.row).all()
        drawn = Counter(zip(anchor.language.tolist(), positive.language.tolist(),
                            anchor.row.tolist(), strict=True))  # fmt: skip
        assert drawn == Counter(listed(list(pairs.epoch(epoch, 30))))


def test_another_order_is_one_of_the_same_pairs(corpus: TokenisedCorpus) -> None:
    for number in (0, 4):
        own, other = (
            listed(list(Pairs(corpus, 30, 3.0, 1, order).epoch(number, 8))) for order in (1, 2)
        )
        assert own == listed(list(Pairs(corpus, 30, 3.0, 1).epoch(number, 8)))
        assert own != other
        everything = [
            Counter(listed(list(Pairs(corpus, 30, 3.0, 1, order).epoch(number, 30))))
            for order in (1, 2)
        ]
        assert everything[0] == everything[1]


def test_a_batch_knows_its_rows_and_has_no_negatives_unless_given(corpus: TokenisedCorpus) -> None:
    (batch,) = Pairs(corpus, 30, 3.0, 1).epoch(0, 30)
    assert (batch.row == batch.anchor.row).all()
    assert len(batch.negative) == 0
    assert len(batch[3:9].negative) == len(batch[:0].negative) == 0


def test_negatives_stand_beside_their_pairs_in_their_language() -> None:
    corpus = corpus_of(
        {
            "de": [f"d{row}" for row in range(12)],
            "en": [f"e{row % 9}" for row in range(12)],
            "ko": [f"k{row}" for row in range(12)],
        }
    )
    pairs = Pairs(corpus, None, 1.0, 0)
    # Three rows for the positive in language n and row r.
    rows_LRK = np.array([[[(n + r) % 12, (5 * n + 3 * r + 1) % 12, (r + 7) % 12]
                          for r in range(12)] for n in range(3)], dtype=np.int32)  # fmt: skip
    plain = list(pairs.epoch(2, 8))
    batches = list(pairs.epoch(2, 8, rows_LRK))
    assert listed(batches) == listed(plain)  # the negatives do not change what is drawn
    for batch in batches:
        expected = [
            (language, rows_LRK[language, row, place])
            for language, row in zip(batch.positive.language, batch.positive.row, strict=True)
            for place in range(3)
        ]
        assert list(zip(batch.negative.language, batch.negative.row, strict=True)) == expected
        part = batch[2:5]
        assert list(zip(part.negative.language, part.negative.row, strict=True)) == expected[6:15]
        assert part.row.tolist() == batch.row[2:5].tolist()
        assert len(batch[:7].negative) == len(batch[:-1].negative) == 21


@pytest.mark.parametrize("size", [3, 8])
@pytest.mark.parametrize("number", [0, 1])
def test_batches_of_one_language_hold_what_mixed_ones_do(
    corpus: TokenisedCorpus, size: int, number: int
) -> None:
    pairs = Pairs(corpus, 77, 1.0, 0)
    batches = list(pairs.epoch(number, size, one_language=True))
    assert len(batches) == pairs.steps(size) == 77 // size
    assert {len(batch) for batch in batches} == {size}
    found = listed(batches)
    assert set(found) <= set(listed(list(pairs.epoch(number, 1))))
    assert len(set(found)) == len(found)
    pure = Counter(
        int(batch.positive.language[0])
        for batch in batches
        if len(set(batch.positive.language.tolist())) == 1
    )
    for language, name in ((0, "de"), (2, "ko"), (3, "gu")):
        assert pure[language] >= ROWS[name] // size
    # The batches of a language do not come in a row.
    order = [int(batch.positive.language[0]) for batch in batches]
    assert order != sorted(order)
    assert found != listed(list(Pairs(corpus, 77, 1.0, 1).epoch(number, size, one_language=True)))
    assert found == listed(list(Pairs(corpus, 77, 1.0, 0).epoch(number, size, one_language=True)))


def test_a_batch_larger_than_every_language_is_mixed(corpus: TokenisedCorpus) -> None:
    (batch,) = Pairs(corpus, 77, 1.0, 0).epoch(0, 77, one_language=True)
    assert Counter(batch.positive.language.tolist()) == {0: 50, 2: 20, 3: 7}


def test_fewer_pairs_than_a_batch_are_one_batch(corpus: TokenisedCorpus) -> None:
    (batch,) = Pairs(corpus, 10, 1.0, 0).epoch(0, 64, one_language=True)
    assert len(batch) == 10
