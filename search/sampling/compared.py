"""What a sampler learns from: trials of any length, by how they compare with each other."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

SCORED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
# Of the trials that have reported, a sampler sees so many of the best and so many of the latest:
# its time for a trial does not grow with the search.
MOST_BEST = 250
MOST_LATEST = 250


def win_rates(curves: list[dict[int, float]]) -> list[float]:
    """Compare trials with each other, each pair at the last epoch that both have trained.

    Args:
        curves: epoch -> metric after it, of each trial; more is better.

    Returns:
        The share of the others that each trial beats (Copeland's score; an equal counts half).
        One half where there is nothing to compare.
    """
    epochs = sorted({epoch for curve in curves for epoch in curve})
    columns = {epoch: column for column, epoch in enumerate(epochs)}
    value_TE = np.full((len(curves), len(epochs)), np.nan)
    for row, curve in enumerate(curves):
        for epoch, value in curve.items():
            value_TE[row, columns[epoch]] = value
    rates = []
    for own_E in value_TE:
        shared_TE = ~np.isnan(value_TE) & ~np.isnan(own_E)
        met = np.flatnonzero(shared_TE.any(axis=1))  # itself, as an equal, among them
        if len(met) < 2:
            rates.append(0.5)
            continue
        last = len(epochs) - 1 - shared_TE[met, ::-1].argmax(axis=1)
        theirs, own = value_TE[met, last], own_E[last]
        won = (own > theirs).sum() + (own == theirs).sum() / 2 - 0.5
        rates.append(float(won) / (len(met) - 1))
    return rates


def comparable(study: Study, most_best: int = MOST_BEST, most_latest: int = MOST_LATEST) -> Study:
    """Copy a study for a sampler: every trial that has reported is complete, with its win rate.

    TPE ranks complete trials before any that were stopped, and takes one that runs for a bad one.
    But the reference is never stopped, however weak, and what is good runs longest.

    Args:
        most_best, most_latest: of the trials that have reported, these are in the copy.

    Returns:
        The copy; its last trial is that of the study.
    """
    copy = optuna.create_study(direction="maximize")
    trials = study.get_trials(deepcopy=False)
    reported = [t for t in trials if t.state in SCORED and t.intermediate_values]
    best = sorted(reported, key=lambda t: -max(t.intermediate_values.values()))[:most_best]
    seen = {trial.number for trial in [*best, *reported[-most_latest:]]}
    reported = [trial for trial in reported if trial.number in seen]
    rates = win_rates([trial.intermediate_values for trial in reported])
    rate = {trial.number: value for trial, value in zip(reported, rates, strict=True)}
    for trial in trials:
        if trial.number in rate:
            copy.add_trial(_completed(trial, rate[trial.number]))
        elif trial.state == TrialState.RUNNING:
            copy.add_trial(trial)
    return copy


def _completed(trial: FrozenTrial, value: float) -> FrozenTrial:
    record = optuna.trial.create_trial(
        state=TrialState.COMPLETE,
        value=value,
        params=trial.params,
        distributions=trial.distributions,
    )
    for name, amount in trial.constraints.items():
        record.set_constraint(name, amount)
    return record


class ComparedSampler(BaseSampler):
    """Shows another sampler a study by the win rates of its trials.

    Args:
        sampler: which draws.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler
        self._study: Study
        self._copy: FrozenTrial

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Find what is drawn together; asked first for each trial."""
        self._study = comparable(study)
        assert not trial.params, "it is the study's last trial, of which nothing is drawn yet"
        self._copy = self._study.get_trials(deepcopy=False)[-1]
        return self._sampler.infer_relative_search_space(self._study, self._copy)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        """Draw what is drawn together."""
        return self._sampler.sample_relative(self._study, self._copy, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> object:
        """Draw one value."""
        return self._sampler.sample_independent(
            self._study, self._copy, param_name, param_distribution
        )
