"""The paired bootstrap against a slow loop over the same draws, and where it must be certain."""

from __future__ import annotations

import numpy as np
import pytest

from search.scoring import bootstrap
from search.scoring.bootstrap import interval, resampled_means, stack_found, strata

RNG = np.random.default_rng(3)


def slow(values_MLR: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """One resample after another, one row after another."""
    present = ~np.isnan(values_MLR[0])
    groups: dict[tuple[bool, ...], list[int]] = {}
    for row in range(present.shape[1]):
        groups.setdefault(tuple(present[:, row]), []).append(row)
    groups.pop((False,) * len(present), None)
    rng = np.random.default_rng(seed)
    drawn = [
        rng.integers(len(rows), size=(resamples, len(rows))) for _, rows in sorted(groups.items())
    ]
    found = np.zeros((resamples, *values_MLR.shape[:2]))
    for n in range(resamples):
        for model in range(len(values_MLR)):
            for language in range(values_MLR.shape[1]):
                values = [
                    values_MLR[model, language, rows[at]]
                    for (kind, rows), draw in zip(sorted(groups.items()), drawn, strict=True)
                    for at in draw[n]
                    if kind[language]
                ]
                found[n, model, language] = sum(values) / len(values)
    return found


def test_means_of_resamples_are_those_of_a_slow_loop() -> None:
    values = RNG.integers(0, 3, (3, 2, 17)) / 2
    values[:, 0, 3:6] = np.nan
    values[:, 1, 5:9] = np.nan  # row 5 is in no language
    expected = slow(values, seed=7, resamples=20)
    np.testing.assert_allclose(resampled_means(values, 7, 20), expected, atol=1e-12)


def test_blocks_do_not_change_a_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    values = RNG.integers(0, 3, (2, 1, 30)) / 2
    whole = resampled_means(values, 0, 50)
    monkeypatch.setattr(bootstrap, "DRAWN_AT_ONCE", 100)
    np.testing.assert_allclose(resampled_means(values, 0, 50), whole, atol=1e-12)


def test_the_interval_has_the_width_that_theory_gives_it() -> None:
    values = (RNG.random((1, 1, 400)) < 0.3).astype(float)
    low, high = interval(resampled_means(values, 0)[:, 0, 0])
    share = values.mean()
    expected = 1.96 * np.sqrt(share * (1 - share) / 400)
    assert (high - low) / 2 == pytest.approx(expected, rel=0.08)
    assert low < share < high


def test_a_model_compared_with_itself_differs_in_no_resample() -> None:
    one = RNG.integers(0, 3, (1, 2, 40)) / 2
    means = resampled_means(np.concatenate([one, one]), 0)
    assert interval((means[:, 0] - means[:, 1]).mean(1)) == (0.0, 0.0)


def test_rows_are_drawn_together_where_they_stand_in_the_same_languages() -> None:
    # The second language is the first: independent draws would halve the variance of the mean.
    row = RNG.integers(0, 3, 200) / 2
    means = resampled_means(np.stack([row, row])[None], 0)
    np.testing.assert_array_equal(means[:, 0, 0], means[:, 0, 1])
    assert [list(rows) for rows in strata(np.array([[1, 0, 1, 0], [1, 1, 1, 0]], bool))] == [
        [1], [0, 2]
    ]  # fmt: skip


def test_the_digits_of_several_runs_become_one_value_a_sentence() -> None:
    runs = [{"de": "20-", "ko": "1-0"}, {"de": "22-", "ko": "0-0"}]
    found = stack_found(runs, ["ko", "de"])
    np.testing.assert_array_equal(found, [[0.25, np.nan, 0], [1, 0.5, np.nan]])
