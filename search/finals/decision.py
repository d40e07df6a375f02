"""Which model is the best, and how far the sentences can tell it from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np

from search.events.outcomes import Outcomes
from search.events.types import (
    FinalComparison,
    FinalRow,
    FinalsDecided,
    Interval,
    SplitScores,
)
from search.finals.plan import candidates
from search.scoring.bootstrap import Floats, interval, resampled_means, stack_found
from search.scoring.constraints import describe, total
from search.scoring.interface import mean
from search.scoring.settings import Scoring
from search.settings.sections import SearchSettings

Split = Literal["validation", "test"]
Run = tuple[int | None, int]
UNTOUCHED: tuple[Run, ...] = ((None, 0),)


@dataclass(frozen=True)
class _Measured:
    """A model on one split.

    Attributes:
        value: what is compared.
        resampled_N: likewise in each resample, the same ones for every model.
        by_language: accuracy.
    """

    value: float
    resampled_N: Floats
    by_language: Mapping[str, float]


def decide(
    outcomes: Outcomes,
    search: SearchSettings,
    families: Mapping[str, str],
    seed: int = 0,
) -> FinalsDecided | None:
    """Choose the best model by the validation sentences, and compare it by the test sentences.

    The candidate with the best mean over its runs is chosen or, of those that the validation
    sentences cannot tell from it (a paired bootstrap at 95 %), the one that trains the fewest
    parameters; of its runs, the best. Candidates that keep the constraints go before all others.
    Then, and only then, the test sentences are read.

    Args:
        families: language -> name of its family.
        seed: of the resamples.

    Returns:
        None where no candidate has been scored.
    """
    scoring = search.scoring
    models: dict[int, tuple[Run, ...]] = {}
    for trial, runs in candidates(outcomes, search).items():
        if scored := tuple(run for run in runs if run in outcomes.scored):
            models[trial] = scored
    if not models:
        return None

    def validation(trial: int) -> list[float]:
        return [outcomes.scored[run].validation.value for run in models[trial]]

    def size(trial: int) -> int:
        return outcomes.by_trial[trial].trainable_parameters or 0

    of_search = outcomes.reference_trial()
    reference = None if of_search is None else of_search.trial
    beside_reference = outcomes.scored.get((reference, 0)) if reference is not None else None

    def violations(trial: int) -> dict[str, float]:
        of_runs = [outcomes.scored[run].validation.by_language for run in models[trial]]
        means = {name: fmean(one[name] for one in of_runs) for name in of_runs[0]}
        of_reference = None
        if beside_reference is not None:
            of_reference = beside_reference.validation.by_language
        return search.constraints.violations(means, of_reference, size(trial))

    broken = {trial: total(violations(trial)) for trial in models}
    ranked = sorted(models, key=lambda t: (broken[t], -fmean(validation(t)), size(t), t))
    first = ranked[0]
    others = [trial for trial in ranked[1:] if broken[trial] == broken[first] == 0]
    tied: list[int] = []
    # Of another metric, it is not known how it came about sentence by sentence.
    if others and scoring.metric.kind == "accuracy":
        chosen_by = _measure(outcomes, models, "validation", scoring, families, seed)
        tied = [
            trial
            for trial in others
            if interval(chosen_by[first].resampled_N - chosen_by[trial].resampled_N)[0] <= 0
        ]
    winner = min([first, *tied], key=lambda trial: (size(trial), ranked.index(trial)))
    _, repeat = max(models[winner], key=lambda run: outcomes.scored[run].validation.value)

    beside: dict[int | None, tuple[Run, ...]] = {trial: models[trial] for trial in models}
    if reference is not None and reference not in models and beside_reference is not None:
        beside[reference] = ((reference, 0),)
    if UNTOUCHED[0] in outcomes.scored:
        beside[None] = UNTOUCHED
    split: Split = "test"
    if any(outcomes.scored[run].test is None for runs in beside.values() for run in runs):
        split = "validation"
    measured = _measure(outcomes, beside, split, scoring, families, seed)

    def row(trial: int | None) -> FinalRow:
        values = [outcomes.scored[run].validation.value for run in beside[trial]]
        return FinalRow(
            trial=trial,
            repeats=tuple(repeat for _, repeat in beside[trial]),
            validation=fmean(values),
            lowest=min(values),
            highest=max(values),
            measured=_interval(measured[trial].value, measured[trial].resampled_N),
            by_language=dict(measured[trial].by_language),
            trainable_parameters=0 if trial is None else size(trial),
        )

    def compare(
        other: Literal["runner-up", "candidate", "reference", "untouched"], trial: int | None
    ) -> FinalComparison:
        this, that = measured[winner], measured[trial]
        difference = _interval(this.value - that.value, this.resampled_N - that.resampled_N)
        return FinalComparison(other=other, trial=trial, difference=difference)

    losers = [trial for trial in ranked if trial != winner]
    comparisons = [compare("runner-up", trial) for trial in losers[:1]]
    comparisons += [compare("candidate", trial) for trial in losers[1:]]
    if reference in beside and reference != winner:
        comparisons.append(compare("reference", reference))
    if None in beside:
        comparisons.append(compare("untouched", None))
    return FinalsDecided(
        trial=winner,
        repeat=repeat,
        split=split,
        compared="objective" if _is_objective(scoring) else "accuracy",
        rows=tuple(map(row, [*ranked, *(key for key in beside if key not in models)])),
        comparisons=tuple(comparisons),
        tied=tuple(tied),
        violations=tuple(describe(violations(winner))),
    )


def _is_objective(scoring: Scoring) -> bool:
    """Whether what is maximised is compared: a number made of the languages' accuracies."""
    return scoring.metric.kind == "accuracy" and scoring.objective.kind != "mean"


def _measure(
    outcomes: Outcomes,
    models: Mapping[int, Sequence[Run]] | Mapping[int | None, Sequence[Run]],
    split: Split,
    scoring: Scoring,
    families: Mapping[str, str],
    seed: int,
) -> dict[int | None, _Measured]:
    """Measure models on a split, each as the mean of its runs, on the same resamples."""
    scores: dict[int | None, list[SplitScores]] = {
        trial: [_on(outcomes, run, split) for run in runs] for trial, runs in models.items()
    }
    languages = list(next(iter(scores.values()))[0].found)
    values_MLR = np.stack(
        [stack_found([one.found for one in runs], languages) for runs in scores.values()]
    )
    resampled_NML = resampled_means(values_MLR, seed)

    def combine(means_L: Floats) -> float:
        by_language = dict(zip(languages, means_L.tolist(), strict=True))
        if _is_objective(scoring):
            return scoring.objective.combine(by_language, families)
        return mean(by_language)

    found = {}
    for index, (trial, runs) in enumerate(scores.items()):
        by_language = {n: fmean(one.by_language[n] for one in runs) for n in languages}
        found[trial] = _Measured(
            combine(np.asarray(list(by_language.values()))),
            np.asarray([combine(means_L) for means_L in resampled_NML[:, index]]),
            by_language,
        )
    return found


def _on(outcomes: Outcomes, run: Run, split: Split) -> SplitScores:
    scored = outcomes.scored[run]
    scores = scored.validation if split == "validation" else scored.test
    assert scores is not None, "every model has been scored on it"
    return scores


def _interval(value: float, resampled_N: Floats) -> Interval:
    low, high = interval(resampled_N)
    return Interval(value=value, low=low, high=high)
