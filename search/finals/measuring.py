"""What models reach on the sentences of one split, and on resamples of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from search.events.types import Interval, SplitScores
from search.scoring.bootstrap import Floats, interval, resampled_means, stack_found
from search.scoring.interface import mean
from search.scoring.settings import Scoring


@dataclass(frozen=True)
class Measured:
    """A model on one split.

    Attributes:
        value: what is compared.
        resampled_N: likewise in each resample, the same ones for every model.
        by_language: accuracy.
        resampled_NL: likewise in each resample, in the order of ``by_language``.
    """

    value: float
    resampled_N: Floats
    by_language: Mapping[str, float]
    resampled_NL: Floats


def measure(
    scores: Mapping[int | None, Sequence[SplitScores]],
    scoring: Scoring,
    families: Mapping[str, str],
    seed: int,
) -> dict[int | None, Measured]:
    """Measure models, each as the mean of its runs, on the same resamples.

    Args:
        scores: trial -> scores of its runs, or of their average alone.
        families: language -> name of its family.
        seed: of the resamples.
    """
    languages = list(next(iter(scores.values()))[0].found)
    values_MLR = np.stack(
        [stack_found([one.found for one in runs], languages) for runs in scores.values()]
    )
    resampled_NML = resampled_means(values_MLR, seed)

    def combine(means_L: Floats) -> float:
        by_language = dict(zip(languages, means_L.tolist(), strict=True))
        if compares_objective(scoring):
            return scoring.objective.combine(by_language, families)
        return mean(by_language)

    found = {}
    for index, (trial, runs) in enumerate(scores.items()):
        by_language = {n: fmean(one.by_language[n] for one in runs) for n in languages}
        found[trial] = Measured(
            combine(np.asarray(list(by_language.values()))),
            np.asarray([combine(means_L) for means_L in resampled_NML[:, index]]),
            by_language,
            resampled_NML[:, index],
        )
    return found


def compares_objective(scoring: Scoring) -> bool:
    """Whether what is maximised is compared: a number made of the languages' accuracies."""
    return scoring.is_accuracy and not scoring.is_mean_accuracy


def with_interval(value: float, resampled_N: Floats) -> Interval:
    """A value with its 95 % interval."""
    low, high = interval(resampled_N)
    return Interval(value=value, low=low, high=high)
