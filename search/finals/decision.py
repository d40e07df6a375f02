"""Which model is the best, and how far the sentences can tell it from others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from search.events.outcomes import Outcomes
from search.events.types import (
    AVERAGED,
    FinalComparison,
    FinalRow,
    FinalsDecided,
    SplitScores,
)
from search.finals.measuring import Measured, compares_objective, measure, with_interval
from search.finals.plan import averaged_runs, candidates
from search.scoring.bootstrap import interval
from search.scoring.constraints import describe, preference, total
from search.settings.sections import SearchSettings

Split = Literal["validation", "test"]
Other = Literal["runner-up", "candidate", "reference", "untouched"]
Run = tuple[int | None, int]
UNTOUCHED: tuple[Run, ...] = ((None, 0),)


def decide(
    outcomes: Outcomes,
    search: SearchSettings,
    families: Mapping[str, str],
    seed: int = 0,
) -> FinalsDecided | None:
    """Choose the best model by the validation sentences, and compare it by the test sentences.

    A candidate counts as the mean over its runs or, where that is better, as the model whose
    weights are the mean of theirs. The best candidate is chosen or, of those that the validation
    sentences cannot tell from it (a paired bootstrap at 95 %), the one that adds the fewest
    parameters to the base; where it is not an average, the best of its runs. Candidates, and runs,
    that keep the constraints go before all others. Then, and only then, the test sentences are
    read.

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
        self._finals = search.finals
        self._constraints = search.constraints
        self._scoring = search.scoring
        self._families = families
        self._seed = seed
        found = outcomes.reference_trial()
        self._reference = None if found is None else found.trial
        self._runs: dict[int, tuple[Run, ...]] = {}  # candidates, and their runs that count
        for trial, runs in candidates(outcomes, search).items():
            if scored := tuple(run for run in runs if run in outcomes.scored):
                self._runs[trial] = scored
        self.models = dict(self._runs)  # what stands for a candidate: its runs, or their average
        self._beside = dict(self._models_beside())
        # The reference first: the floors of all others are of what stands for it.
        for trial in sorted(self._runs, key=lambda trial: trial != self._reference):
            if self._is_average_better(trial):
                self.models[trial] = self._beside[trial] = ((trial, AVERAGED),)

    def _models_beside(self) -> Iterator[tuple[int | None, tuple[Run, ...]]]:
        """The candidates, the reference and the base without training, as far as scored."""
        yield from self.models.items()
        of_reference = (self._reference, 0)
        if self._reference not in self.models and of_reference in self._outcomes.scored:
            yield self._reference, (of_reference,)
        if UNTOUCHED[0] in self._outcomes.scored:
            yield None, UNTOUCHED

    def _average(self, trial: int | None) -> SplitScores | None:
        """The validation scores of the average of a candidate's runs, if there is one of them."""
        scored = self._outcomes.scored.get((trial, AVERAGED))
        runs = () if trial is None else self._runs.get(trial, ())
        wanted = averaged_runs(self._finals, runs)
        return scored.validation if scored and wanted and scored.averaged == wanted else None

    def _is_average_better(self, trial: int) -> bool:
        """Whether the average of a candidate's runs goes before what they are by themselves."""
        average = self._average(trial)
        if average is None:
            return False
        runs = self._runs[trial]
        of_runs = fmean(self._validation(runs))
        after = preference(self._violations(trial, [(trial, AVERAGED)]), average.value, 0, 0)
        return after < preference(self._violations(trial, runs), of_runs, 0, 0)

    def choose(self) -> _Choice:
        """Choose by the validation sentences."""
        violations = {trial: self._violations(trial) for trial in self.models}

        def key(trial: int) -> tuple[float, float, int, int]:
            value = fmean(self._validation(self.models[trial]))
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
            difference = with_interval(this.value - that.value, this.resampled_N - that.resampled_N)
            resampled_NL = this.resampled_NL - that.resampled_NL
            by_language = {
                name: with_interval(value - that.by_language[name], resampled_NL[:, place])
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
            compared="objective" if compares_objective(self._scoring) else "accuracy",
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

    def _validation(self, runs: Sequence[Run]) -> list[float]:
        """What is maximised, of each run."""
        return [self._outcomes.scored[run].validation.value for run in runs]

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

    def _measure(
        self, models: Mapping[int, Sequence[Run]] | Mapping[int | None, Sequence[Run]], split: Split
    ) -> dict[int | None, Measured]:
        scores: dict[int | None, list[SplitScores]] = {
            trial: [self._scores_on(split, run) for run in runs] for trial, runs in models.items()
        }
        return measure(scores, self._scoring, self._families, self._seed)

    def _scores_on(self, split: Split, run: Run) -> SplitScores:
        scored = self._outcomes.scored[run]
        scores = scored.validation if split == "validation" else scored.test
        assert scores is not None, "every model has been scored on it"
        return scores

    def _means(self, runs: Sequence[Run]) -> dict[str, float]:
        """Mean accuracy of runs by language on the validation sentences."""
        of_runs = [self._outcomes.scored[run].validation.by_language for run in runs]
        names = of_runs[0] if of_runs else ()
        return {name: fmean(one[name] for one in of_runs) for name in names}

    def _row(self, trial: int | None, measured: Measured) -> FinalRow:
        stands = self._beside[trial]
        runs = stands if trial is None else self._runs.get(trial, stands)
        values = self._validation(runs)
        average = self._average(trial)
        return FinalRow(
            trial=trial,
            repeats=tuple(repeat for _, repeat in runs),
            average=None if average is None else average.value,
            averaged=stands != runs,
            validation=fmean(self._validation(stands)),
            lowest=min(values),
            highest=max(values),
            measured=with_interval(measured.value, measured.resampled_N),
            by_language=dict(measured.by_language),
            trainable_parameters=self._size(trial),
            added_parameters=self._added(trial),
            violations=tuple(describe(self._violations(trial)) if trial in self.models else ()),
        )
