"""Which model is the best, and how far the sentences can tell it from others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from search.scoring.constraints import describe, preference, total
from search.scoring.interface import mean
from search.scoring.settings import Scoring
from search.settings.sections import SearchSettings

Split = Literal["validation", "test"]
Other = Literal["runner-up", "candidate", "reference", "untouched"]
Run = tuple[int | None, int]
UNTOUCHED: tuple[Run, ...] = ((None, 0),)


@dataclass(frozen=True)
class _Measured:
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


def decide(
    outcomes: Outcomes,
    search: SearchSettings,
    families: Mapping[str, str],
    seed: int = 0,
) -> FinalsDecided | None:
    """Choose the best model by the validation sentences, and compare it by the test sentences.

    The candidate with the best mean over its runs is chosen or, of those that the validation
    sentences cannot tell from it (a paired bootstrap at 95 %), the one that adds the fewest
    parameters to the base; of its runs, the best. Candidates, and runs, that keep the constraints
    go before all others. Then, and only then, the test sentences are read.

    Args:
        families: language -> name of its family.
        seed: of the resamples.

    Returns:
        None where no candidate has been scored.
    """
    finals = _Finals(outcomes, search, families, seed)
    return finals.compare(finals.choose()) if finals.models else None


@dataclass(frozen=True)
class _Choice:
    """What the validation sentences say.

    Attributes:
        ranked: all candidates, best first.
        tied: those that cannot be told from the first.
        winner: the first, or a smaller one of these.
    """

    ranked: Sequence[int]
    tied: Sequence[int]
    winner: int


class _Finals:
    """The models of the final comparison; arguments as of `decide`."""

    def __init__(
        self, outcomes: Outcomes, search: SearchSettings, families: Mapping[str, str], seed: int
    ) -> None:
        self._outcomes = outcomes
        self._constraints = search.constraints
        self._scoring = search.scoring
        self._families = families
        self._seed = seed
        self.models: dict[int, tuple[Run, ...]] = {}  # candidates, and their runs that count
        for trial, runs in candidates(outcomes, search).items():
            if scored := tuple(run for run in runs if run in outcomes.scored):
                self.models[trial] = scored
        found = outcomes.reference_trial()
        self._reference = None if found is None else found.trial
        self._beside = dict(self._models_beside())

    def _models_beside(self) -> Iterator[tuple[int | None, tuple[Run, ...]]]:
        """The candidates, the reference and the base without training, as far as scored."""
        yield from self.models.items()
        of_reference = (self._reference, 0)
        if self._reference not in self.models and of_reference in self._outcomes.scored:
            yield self._reference, (of_reference,)
        if UNTOUCHED[0] in self._outcomes.scored:
            yield None, UNTOUCHED

    def choose(self) -> _Choice:
        """Choose by the validation sentences."""
        violations = {trial: self._violations(trial) for trial in self.models}

        def key(trial: int) -> tuple[float, float, int, int]:
            value = fmean(self._validation(trial))
            return preference(violations[trial], value, self._size(trial), trial)

        ranked = sorted(self.models, key=key)
        first = ranked[0]
        others = [trial for trial in ranked if not total(violations[trial])][1:]
        tied: list[int] = []
        # Of another metric, it is not known how it came about sentence by sentence.
        if others and self._scoring.is_accuracy:
            by = self._measure(self.models, "validation")
            tied = [
                trial
                for trial in others
                if interval(by[first].resampled_N - by[trial].resampled_N)[0] <= 0
            ]
        winner = min([first, *tied], key=lambda trial: (self._added(trial), ranked.index(trial)))
        return _Choice(ranked, tied, winner)

    def compare(self, choice: _Choice) -> FinalsDecided:
        """Measure all models, and each beside the one that was chosen."""
        scored, winner = self._outcomes.scored, choice.winner
        split: Split = "test"
        if any(scored[run].test is None for runs in self._beside.values() for run in runs):
            split = "validation"
        measured = self._measure(self._beside, split)

        def beside(other: Other, trial: int | None) -> FinalComparison:
            this, that = measured[winner], measured[trial]
            difference = _interval(this.value - that.value, this.resampled_N - that.resampled_N)
            resampled_NL = this.resampled_NL - that.resampled_NL
            by_language = {
                name: _interval(value - that.by_language[name], resampled_NL[:, place])
                for place, (name, value) in enumerate(this.by_language.items())
            }
            return FinalComparison(
                other=other, trial=trial, difference=difference, by_language=by_language
            )

        losers = [trial for trial in choice.ranked if trial != winner]
        comparisons = [beside("runner-up", trial) for trial in losers[:1]]
        comparisons += [beside("candidate", trial) for trial in losers[1:]]
        if self._reference in self._beside and self._reference not in (winner, None):
            comparisons.append(beside("reference", self._reference))
        if None in self._beside:
            comparisons.append(beside("untouched", None))
        rest = [trial for trial in self._beside if trial not in self.models]
        chosen = min(self.models[winner], key=self._run_preference)
        return FinalsDecided(
            trial=winner,
            repeat=chosen[1],
            split=split,
            compared="objective" if _is_objective(self._scoring) else "accuracy",
            rows=tuple(self._row(trial, measured[trial]) for trial in [*choice.ranked, *rest]),
            comparisons=tuple(comparisons),
            tied=tuple(choice.tied),
            violations=tuple(describe(self._violations(winner, [chosen]))),
        )

    def _run_preference(self, run: Run) -> tuple[float, float, int, int]:
        trial, repeat = run
        value, size = self._outcomes.scored[run].validation.value, self._size(trial)
        assert trial is not None, "a candidate's"
        return preference(self._violations(trial, [run]), value, size, repeat)

    def _validation(self, trial: int | None) -> list[float]:
        """What is maximised, of each run."""
        return [self._outcomes.scored[run].validation.value for run in self._beside[trial]]

    def _size(self, trial: int | None) -> int:
        if trial is None:
            return 0
        return self._outcomes.by_trial[trial].trainable_parameters or 0

    def _added(self, trial: int | None) -> int:
        return 0 if trial is None else self._outcomes.by_trial[trial].added_parameters

    def _violations(self, trial: int, runs: Sequence[Run] = ()) -> dict[str, float]:
        """How far a candidate's runs, all of them by default, are from the constraints.

        A reference that is a candidate is measured by its own runs too, so that it never is below
        itself by the seed alone.
        """
        reference = self._reference
        floors = self._means(() if reference is None else self._beside.get(reference, ()))
        means = self._means(runs or self.models[trial])
        return self._constraints.violations(means, floors or None, self._size(trial))

    def _means(self, runs: Sequence[Run]) -> dict[str, float]:
        """Mean accuracy of runs by language on the validation sentences."""
        of_runs = [self._outcomes.scored[run].validation.by_language for run in runs]
        names = of_runs[0] if of_runs else ()
        return {name: fmean(one[name] for one in of_runs) for name in names}

    def _row(self, trial: int | None, measured: _Measured) -> FinalRow:
        values = self._validation(trial)
        return FinalRow(
            trial=trial,
            repeats=tuple(repeat for _, repeat in self._beside[trial]),
            validation=fmean(values),
            lowest=min(values),
            highest=max(values),
            measured=_interval(measured.value, measured.resampled_N),
            by_language=dict(measured.by_language),
            trainable_parameters=self._size(trial),
            added_parameters=self._added(trial),
            violations=tuple(describe(self._violations(trial)) if trial in self.models else ()),
        )

    def _measure(
        self, models: Mapping[int, Sequence[Run]] | Mapping[int | None, Sequence[Run]], split: Split
    ) -> dict[int | None, _Measured]:
        """Measure models on a split, each as the mean of its runs, on the same resamples."""
        scores: dict[int | None, list[SplitScores]] = {
            trial: [_on(self._outcomes, run, split) for run in runs]
            for trial, runs in models.items()
        }
        languages = list(next(iter(scores.values()))[0].found)
        values_MLR = np.stack(
            [stack_found([one.found for one in runs], languages) for runs in scores.values()]
        )
        resampled_NML = resampled_means(values_MLR, self._seed)

        def combine(means_L: Floats) -> float:
            by_language = dict(zip(languages, means_L.tolist(), strict=True))
            if _is_objective(self._scoring):
                return self._scoring.objective.combine(by_language, self._families)
            return mean(by_language)

        found = {}
        for index, (trial, runs) in enumerate(scores.items()):
            by_language = {n: fmean(one.by_language[n] for one in runs) for n in languages}
            found[trial] = _Measured(
                combine(np.asarray(list(by_language.values()))),
                np.asarray([combine(means_L) for means_L in resampled_NML[:, index]]),
                by_language,
                resampled_NML[:, index],
            )
        return found


def _is_objective(scoring: Scoring) -> bool:
    """Whether what is maximised is compared: a number made of the languages' accuracies."""
    return scoring.is_accuracy and not scoring.is_mean_accuracy


def _on(outcomes: Outcomes, run: Run, split: Split) -> SplitScores:
    scored = outcomes.scored[run]
    scores = scored.validation if split == "validation" else scored.test
    assert scores is not None, "every model has been scored on it"
    return scores


def _interval(value: float, resampled_N: Floats) -> Interval:
    low, high = interval(resampled_N)
    return Interval(value=value, low=low, high=high)
