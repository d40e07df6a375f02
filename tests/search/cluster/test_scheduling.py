"""The scheduler: the reference runs to its end, and the others meet the same decisions as ever."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.utils.object_cache import _ObjectCache

from search.cluster.lane import OBJECTIVE
from search.cluster.scheduling import ReferenceKeepingASHA, make_scheduler, replay
from search.events.types import EpochDone
from search.settings.interface import SchedulerConfig
from search.settings.scheduler.asha import Asha
from search.settings.scheduler.none import NoScheduler

EPOCHS = 9
STOP, CONTINUE = TrialScheduler.STOP, TrialScheduler.CONTINUE


@dataclass
class FakeTrial:
    """The two things of a Tune trial that a scheduler reads."""

    trial_id: str
    config: dict[str, int] = field(default_factory=dict)


def report(number: int, epoch: int, accuracy: float) -> EpochDone:
    return EpochDone(
        trial=number, epoch=epoch, loss=1.0, accuracy=accuracy, by_language={"de": accuracy},
        seconds=1.0, trainable_parameters=1, start="tokens", began=0.0, ended=1.0,
    )  # fmt: skip


def run_all(scheduler: TrialScheduler, curves: dict[int, list[float]]) -> dict[int, list[str]]:
    """Trials one after another, each until it is stopped; every decision of each."""
    decisions: dict[int, list[str]] = {}
    for number, curve in curves.items():
        trial = FakeTrial(f"t{number}", {"trial": number})
        scheduler.on_trial_add(None, trial)
        decisions[number] = []
        for epoch, accuracy in enumerate(curve, start=1):
            result = {"epoch": epoch, OBJECTIVE: accuracy}
            if epoch == EPOCHS:  # the worker ends it, and Tune asks no more
                scheduler.on_trial_complete(None, trial, result)
                break
            decisions[number].append(scheduler.on_trial_result(None, trial, result))
            if decisions[number][-1] == STOP:
                scheduler.on_trial_complete(None, trial, result)
                break
    return decisions


def curves_of(seed: int, reference_last: bool) -> dict[int, list[float]]:
    draw = random.Random(seed)
    curves = {n: sorted(draw.random() for _ in range(EPOCHS)) for n in range(1, 12)}
    weak = {0: [0.01 * epoch for epoch in range(EPOCHS)]}
    return curves | weak if reference_last else weak | curves


def make(kind: type[ASHAScheduler]) -> ASHAScheduler:
    return kind(
        time_attr="epoch", metric=OBJECTIVE, mode="max", max_t=EPOCHS, grace_period=1,
        reduction_factor=3,
    )  # fmt: skip


@pytest.mark.parametrize("reference_last", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_the_reference_is_never_stopped_and_changes_no_other_decision(
    seed: int, reference_last: bool
) -> None:
    curves = curves_of(seed, reference_last)
    kept = run_all(make(ReferenceKeepingASHA), curves)
    plain = run_all(make(ASHAScheduler), curves)
    assert kept.pop(0) == [CONTINUE] * (EPOCHS - 1)
    stopped = plain.pop(0)
    assert not reference_last or stopped == [STOP]
    assert kept == plain
    assert any(STOP in decisions for decisions in kept.values())


def test_a_reference_that_asha_would_keep_is_in_every_rung() -> None:
    scheduler = make(ReferenceKeepingASHA)
    run_all(scheduler, {0: [0.1 * epoch for epoch in range(1, EPOCHS + 1)]})
    rungs = {milestone: dict(scores) for milestone, scores in scheduler._brackets[0]._rungs}
    scores = {1: 0.1, 3: 0.3, 9: 0.9}
    assert rungs == {rung: {"trial 0": pytest.approx(score)} for rung, score in scores.items()}


def test_a_reference_that_was_dropped_stays_so_in_another_lane() -> None:
    scheduler = make(ReferenceKeepingASHA)
    run_all(scheduler, {1: [0.9]})
    for lane in ("first", "second"):  # the same trial, under another id of Tune's
        trial = FakeTrial(lane, {"trial": 0})
        scheduler.on_trial_add(None, trial)
        assert scheduler.on_trial_result(None, trial, {"epoch": 1, OBJECTIVE: 0.1}) == CONTINUE
    scores = [score for _, rung in scheduler._brackets[0]._rungs for score in rung.values()]
    assert sorted(scores) == [0.1, 0.9]


def test_settings_make_the_scheduler() -> None:
    made = make_scheduler(Asha(max_epochs=8, reduction=2, grace_epochs=2))
    assert isinstance(made, ReferenceKeepingASHA)
    assert [milestone for milestone, _ in made._brackets[0]._rungs] == [8, 4, 2]
    made = make_scheduler(NoScheduler())
    assert isinstance(made, FIFOScheduler) and not isinstance(made, ASHAScheduler)


@pytest.mark.parametrize("settings", [Asha(max_epochs=9), NoScheduler()])
def test_lanes_that_come_free_before_the_finals_are_kept(settings: SchedulerConfig) -> None:
    scheduler = make_scheduler(settings)
    controller = SimpleNamespace(_actor_cache=_ObjectCache())
    cache = controller._actor_cache
    result = {"epoch": 9, OBJECTIVE: 0.5}
    trials = [Trial("none", config={"trial": n, "task": "score"}, stub=True) for n in range(3)]
    key = trials[0].placement_group_factory
    scheduler.on_trial_complete(controller, trials[0], result)
    assert cache.cache_object(key, "first") and not cache.cache_object(key, "second")
    scheduler.wanted = lambda: 2
    for trial in trials[1:]:  # it is said once, not at each end
        scheduler.on_trial_complete(controller, trial, result)
    assert cache.cache_object(key, "second") and not cache.cache_object(key, "third")
    assert list(cache.flush_cached_objects()) == []
    scheduler.wanted = lambda: 0
    scheduler.on_trial_complete(controller, trials[0], result)
    assert list(cache.flush_cached_objects()) == ["first", "second"]


def rungs_of(scheduler: ASHAScheduler) -> list[tuple[int, dict[str, float]]]:
    return [(milestone, dict(scores)) for milestone, scores in scheduler._brackets[0]._rungs]


@pytest.mark.parametrize("seed", range(5))
def test_a_replay_of_any_part_of_a_search_leads_to_the_same_rungs_and_decisions(seed: int) -> None:
    draw = random.Random(seed)
    live = make(ReferenceKeepingASHA)
    curves = curves_of(seed, reference_last=False)
    trials = {number: FakeTrial(f"t{number}", {"trial": number}) for number in curves}
    epochs = dict.fromkeys(curves, 0)
    events: list[EpochDone] = []
    running: list[int] = []
    waiting = list(curves)
    stopped: set[int] = set()
    while running or waiting:  # three at a time, in any order
        while waiting and len(running) < 3:
            running.append(waiting.pop(0))
            live.on_trial_add(None, trials[running[-1]])
        number = draw.choice(running)
        epochs[number] += 1
        accuracy = curves[number][epochs[number] - 1]
        result = {"epoch": epochs[number], OBJECTIVE: accuracy}
        events.append(report(number, epochs[number], accuracy))
        if epochs[number] == EPOCHS:
            live.on_trial_complete(None, trials[number], result)
            running.remove(number)
        elif live.on_trial_result(None, trials[number], result) == STOP:
            stopped.add(number)
            running.remove(number)
        again = make(ReferenceKeepingASHA)
        assert replay(again, [*events, *events[-1:]], EPOCHS) == stopped
        assert rungs_of(again) == rungs_of(live)
        assert again._reference_dropped == live._reference_dropped
    assert stopped


def test_a_trial_that_comes_again_has_its_place_in_the_rungs() -> None:
    scheduler = make(ReferenceKeepingASHA)
    for name, epochs in (("first lane", [1, 2, 3, 4]), ("second lane", [4, 5])):
        trial = FakeTrial(name, {"trial": 5})
        scheduler.on_trial_add(None, trial)
        for epoch in epochs:
            result = {"epoch": epoch, OBJECTIVE: epoch / 10}
            assert scheduler.on_trial_result(None, trial, result) == CONTINUE
        scheduler.on_trial_remove(None, trial)
    assert rungs_of(scheduler) == [(9, {}), (3, {"trial 5": 0.3}), (1, {"trial 5": 0.1})]


def test_without_rungs_a_replay_stops_nothing() -> None:
    events = [report(0, 1, 0.5), report(0, 2, 0.1), report(1, 1, 0.0)]
    assert replay(make_scheduler(NoScheduler()), events, EPOCHS) == set()
