"""How far a score, or a difference of two, may be due to the sentences that it was measured on.

Letters: M models, L languages, R rows of aligned sentences, N resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2000
CONFIDENCE = 0.95
DRAWN_AT_ONCE = 2**22  # rows, over the resamples of a block


def stack_found(found: Sequence[Mapping[str, str]], languages: Sequence[str]) -> Floats:
    """Values (L, R) of a model: the share of both directions in which a row was found.

    Args:
        found: of each run of the model, language -> a digit a row (see `SplitScores.found`); the
            value is the mean over the runs.

    Returns:
        NaN where a language has no pair.
    """
    runs = []
    for one in found:
        codes = [np.frombuffer(one[name].encode("ascii"), np.uint8) for name in languages]
        digits = np.stack(codes).astype(np.float64) - ord("0")
        runs.append(np.where(digits < 0, np.nan, digits / 2))
    mean: Floats = np.mean(runs, axis=0)
    return mean


def resampled_means(values_MLR: Floats, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Mean of every model and language in each resample, (N, M, L).

    All models see the same resamples, so that their differences are paired. Rows are drawn with
    replacement among those that stand in the same languages: so every language keeps its number of
    sentences, and a row's sentences, which are alike in difficulty, are drawn together.

    Source: Efron and Tibshirani, 1993, An Introduction to the Bootstrap; Koehn, 2004, Statistical
    Significance Tests for Machine Translation Evaluation.

    Args:
        values_MLR: NaN where a language has no pair, in the same places for every model.
    """
    models, languages, _ = values_MLR.shape
    present_LR = ~np.isnan(values_MLR[0])
    count_L = present_LR.sum(axis=1)
    sums = np.zeros((resamples, models * languages))
    rng = np.random.default_rng(seed)
    for rows in strata(present_LR):
        values_RX = np.nan_to_num(values_MLR[:, :, rows]).reshape(-1, len(rows)).T
        block = max(1, DRAWN_AT_ONCE // len(rows))
        for start in range(0, resamples, block):
            size = min(block, resamples - start)
            drawn = rng.integers(len(rows), size=(size, len(rows)))
            drawn += np.arange(size)[:, None] * len(rows)
            times = np.bincount(drawn.ravel(), minlength=size * len(rows))
            sums[start : start + size] += times.reshape(size, len(rows)) @ values_RX
    means: Floats = sums.reshape(resamples, models, languages) / count_L
    return means


def strata(present_LR: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The rows of each set of languages, those in no language left out."""
    _, kind = np.unique(present_LR, axis=1, return_inverse=True)
    groups = [np.flatnonzero(kind == number) for number in range(int(kind.max(initial=-1)) + 1)]
    return [rows for rows in groups if present_LR[:, rows[0]].any()]


def interval(values_N: Floats) -> tuple[float, float]:
    """The central interval that holds `CONFIDENCE` of some resampled values."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values_N, [tail, 1 - tail])
    return float(low), float(high)
