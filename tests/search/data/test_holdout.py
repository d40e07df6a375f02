"""Rows held out: whole groups where there are any, few rows lost where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from search.data.comparison import Ints
from search.data.holdout import hold_out, shares_text


def numbers(*columns: list[int]) -> Ints:
    """Numbers of texts, made different between columns; -1 is missing."""
    return np.array(
        [[n if n < 0 else 10_000 * index + n for n in c] for index, c in enumerate(columns)]
    )


def assert_apart(text: Ints, held: np.ndarray, lost: np.ndarray) -> None:
    """No row is in two parts, and no row kept shares a sentence with one held out; by a loop."""
    assert not (held & lost).any()
    for language in text:
        taken = {n for n, h in zip(language.tolist(), held, strict=True) if h and n >= 0}
        for n, h, gone in zip(language.tolist(), held, lost, strict=True):
            assert h or gone or n not in taken
    for row in np.flatnonzero(lost):  # and none is lost without need
        assert any(text[n, row] in text[n, held] for n in range(len(text)) if text[n, row] >= 0)


def random_texts(rows: int, texts: int, seed: int) -> Ints:
    rng = np.random.default_rng(seed)
    return numbers(*(rng.integers(-1, texts, rows).tolist() for _ in range(3)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("texts", [2, 15, 60, 1000])
@pytest.mark.parametrize("target", [1, 7, 30])
def test_whatever_is_held_out_shares_nothing_with_what_is_kept(
    texts: int, target: int, seed: int
) -> None:
    text = random_texts(80, texts, seed)
    found = hold_out(text, target, np.random.default_rng(seed))
    assert_apart(text, found.held, found.lost)
    assert 1 <= found.held.sum() <= target
    again = hold_out(text, target, np.random.default_rng(seed))
    assert (again.held == found.held).all()


def test_groups_are_held_out_whole_and_no_row_is_lost() -> None:
    # 30 sentences with four translations each.
    text = numbers([row // 4 for row in range(120)], list(range(120)))
    found = hold_out(text, 12, np.random.default_rng(0))
    assert (found.held.sum(), found.lost.sum(), found.largest) == (12, 0, 4)
    assert set(np.bincount(text[0, found.held])) <= {0, 4}
    other = hold_out(text, 12, np.random.default_rng(1))
    assert (other.held != found.held).any()


def test_of_rows_that_share_nothing_as_many_are_held_out_as_asked_for() -> None:
    text = numbers(list(range(500)), list(range(500)))
    found = hold_out(text, 50, np.random.default_rng(0))
    assert (found.held.sum(), found.lost.sum(), found.largest) == (50, 0, 1)
    # Over many draws each row has its chance.
    held = [hold_out(text, 50, np.random.default_rng(n)).held for n in range(100)]
    drawn = np.sum(held, axis=0, dtype=int)
    assert drawn.min() >= 1
    assert drawn.max() <= 30


@pytest.mark.parametrize("seed", range(5))
def test_of_a_chain_a_piece_is_held_out_and_its_neighbours_are_lost(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(300)
    text = numbers([(r + 1) // 2 for r in range(300)], [r // 2 for r in range(300)])[:, order]
    found = hold_out(text, 30, np.random.default_rng(seed))
    assert_apart(text, found.held, found.lost)
    assert found.held.sum() == 30
    assert 1 <= found.lost.sum() <= 2
    assert found.largest == 300


def test_a_group_that_is_too_large_is_left_whole_where_others_give_enough() -> None:
    text = numbers([0] * 400 + list(range(1, 101)), list(range(500)))
    found = hold_out(text, 50, np.random.default_rng(0))
    assert (found.held.sum(), found.lost.sum()) == (50, 0)
    assert not found.held[:400].any()


def test_a_common_sentence_does_not_pull_its_rows_in() -> None:
    # A chain, of which every tenth row also holds one common sentence.
    rows = 500
    common = [0 if r % 10 == 0 else 1 + r for r in range(rows)]
    text = numbers([(r + 1) // 2 for r in range(rows)], [r // 2 for r in range(rows)], common)
    found = hold_out(text, 8, np.random.default_rng(0))
    assert_apart(text, found.held, found.lost)
    assert found.held.sum() == 8
    assert found.lost.sum() <= 8


def test_a_rare_language_has_its_share() -> None:
    rows = 2000
    rare = [r if r % 100 == 0 else -1 for r in range(rows)]
    text = numbers(list(range(rows)), list(range(rows)), rare)
    for seed in range(10):
        held = hold_out(text, 200, np.random.default_rng(seed)).held
        assert held.sum() == 200
        assert 2 <= (text[2, held] >= 0).sum() <= 3


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_a_few_rows(rows: int) -> None:
    text = numbers(list(range(rows)), [0] * rows)  # all share a sentence
    found = hold_out(text, 1, np.random.default_rng(0))
    assert found.held.sum() == (rows > 1)
    assert found.lost.sum() == max(0, rows - 1)


def test_rows_that_share_a_text_equal_a_slow_loop() -> None:
    text, others = random_texts(60, 30, 0), random_texts(9, 30, 1)
    found = shares_text(text, others)
    for row in range(60):
        expected = any(n >= 0 and n in others[index] for index, n in enumerate(text[:, row]))
        assert found[row] == expected
    assert 0 < found.sum() < 60
