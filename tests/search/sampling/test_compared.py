"""What TPE learns from trials of different lengths, some of which still run."""

from __future__ import annotations

import math
import random
from collections import Counter

import optuna
import pytest
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import TrialState

from search.sampling.compared import ComparedSampler, comparable, win_rates

KINDS = ["none", "lora", "unfrozen"]


def slow_win_rates(curves: list[dict[int, float]]) -> list[float]:
    rates = []
    for i, own in enumerate(curves):
        points: list[float] = []
        for j, other in enumerate(curves):
            shared = own.keys() & other.keys()
            if i == j or not shared:
                continue
            mine, theirs = own[max(shared)], other[max(shared)]
            points.append(1.0 if mine > theirs else 0.5 if mine == theirs else 0.0)
        rates.append(sum(points) / len(points) if points else 0.5)
    return rates


@pytest.mark.parametrize("seed", range(20))
def test_win_rates_are_those_of_a_loop_over_pairs(seed: int) -> None:
    draw = random.Random(seed)
    curves = [
        {epoch: draw.randrange(5) / 4 for epoch in range(1, 1 + draw.randrange(9))}
        for _ in range(draw.randrange(12))
    ]
    assert win_rates(curves) == pytest.approx(slow_win_rates(curves), abs=1e-12)


def test_each_pair_is_compared_where_both_have_been() -> None:
    slow_start = {1: 0.2, 2: 0.3, 3: 0.9}
    stopped = {1: 0.3}
    finished = {1: 0.1, 2: 0.2, 3: 0.4}
    assert win_rates([slow_start, stopped, finished]) == [0.5, 1.0, 0.0]


def study_with(trials: list[tuple[str, TrialState, dict[int, float]]]) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    kinds = optuna.distributions.CategoricalDistribution(KINDS)
    for kind, state, curve in trials:
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=curve[max(curve)] if state == TrialState.COMPLETE else None,
                params={"kind": kind},
                distributions={"kind": kinds},
                intermediate_values=curve,
            )
        )
    return study


def asynchronous() -> optuna.Study:
    """The reference has finished, though weak; the best trials are slow, and still run."""
    reference = [("none", TrialState.COMPLETE, {n: 0.5 + 0.005 * n for n in range(1, 10)})]
    running = [("lora", TrialState.RUNNING, {1: 0.60 + part, 2: 0.70}) for part in (0.01, 0.02)]
    stopped = [
        (kind, TrialState.PRUNED, {1: 0.48 + 0.001 * part})
        for part in range(4)
        for kind in ("none", "unfrozen")
    ]
    return study_with([*reference, *running, *stopped])


def drawn(sampler: type[BaseSampler] | None) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in range(60):
        study = asynchronous()
        tpe = TPESampler(
            seed=seed, n_startup_trials=5, multivariate=True, group=True, constant_liar=True
        )
        study.sampler = ComparedSampler(tpe) if sampler else tpe
        found[study.ask().suggest_categorical("kind", KINDS)] += 1
    return found


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_tpe_draws_near_a_good_trial_that_runs_rather_than_near_a_weak_one_that_has_finished() -> (
    None
):
    plain, compared = drawn(None), drawn(ComparedSampler)
    assert plain["none"] > plain["lora"]
    assert compared["lora"] > 2 * compared["none"]


def test_the_copy_has_what_has_reported_and_what_runs() -> None:
    study = asynchronous()
    study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
    running = study.ask()
    running.set_constraint("max_parameters", 1.0)
    running.report(0.1, step=1)
    study.ask()
    *copied, worst, waiting = comparable(study).trials
    assert [trial.params for trial in copied] == [trial.params for trial in study.trials[:11]]
    assert {trial.state for trial in [*copied, worst]} == {TrialState.COMPLETE}
    assert copied[0].value is not None and math.isclose(copied[0].value, 9 / 11)
    assert worst.value == 0.0 and worst.constraints == {"max_parameters": 1.0}
    assert waiting.state == TrialState.RUNNING


def test_of_many_trials_the_best_and_the_latest_are_in_the_copy() -> None:
    values = [0.1, 0.9, 0.2, 0.8, 0.3, 0.4, 0.5, 0.95]
    study = study_with([("none", TrialState.PRUNED, {1: value}) for value in values])
    study.ask()
    *copied, waiting = comparable(study, most_best=3, most_latest=2).trials
    # .9, .8 and .95 are the best, .5 and .95 the latest, and of these four each beats those below.
    assert [trial.value for trial in copied] == pytest.approx([2 / 3, 1 / 3, 0, 1])
    assert waiting.state == TrialState.RUNNING


def test_nothing_to_compare() -> None:
    assert win_rates([]) == []
    assert win_rates([{}]) == [0.5]
    assert win_rates([{1: 0.3}]) == [0.5]
