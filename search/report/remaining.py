"""How long a search will still take, from what its trials have cost so far."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from search.events.outcomes import Outcome, Outcomes
from search.settings.interface import SchedulerConfig

LEAST_LEFT_S = 1.0  # while something runs
LEAST_ENDED = 2  # trials, beside the reference, before anything is said
PRIOR = 2.0  # trials that the scheduler's own share of survivors counts as


@dataclass(frozen=True)
class Remaining:
    """What is expected of a search.

    Attributes:
        seconds: until its last trial ends; None while too little is known, and when nothing is left
            to train.
        ends: running trial -> seconds until it ends, where that is known.
    """

    seconds: float | None
    ends: Mapping[int, float]


def remaining(
    outcomes: Outcomes,
    trials: int,
    lanes: int,
    scheduler: SchedulerConfig,
    now: float,
    since: Mapping[tuple[int, int], float],
    finals: tuple[int, int] = (0, 0),
) -> Remaining:
    """Estimate when the running trials and the last one end.

    A running trial costs what its epochs have cost, for as many as it is expected to get; a waiting
    one what epochs have cost the trials that came as far, for as many as trials are expected to
    get. Both are then given to lanes as these become free.

    Args:
        trials: of the whole search.
        lanes: trials that run at a time.
        now: Unix time in seconds.
        since: trial and repeat of a run -> Unix time at which it was first seen.
        finals: how many trials are trained anew at the end, and with how many other seeds each.
    """
    drawn = [o for o in outcomes.by_trial.values() if o.began is not None and not o.reference]
    running = [o for o in outcomes.by_trial.values() if o.state is None]
    waiting = max(0, trials - len(outcomes.by_trial))
    survival = _survival(outcomes, scheduler)
    usual = _usual_seconds(drawn, scheduler, survival)
    ends: dict[int, float] = {}
    free = []
    for outcome in running:
        run = (outcome.trial, outcome.repeat)
        if outcome.ended is None:
            free.append(_left_of(usual, now - since.get(run, now)))
        else:
            further = _expected_epochs(outcome, scheduler, survival)
            ends[outcome.trial] = _until(
                outcome, further, outcome.epoch_seconds, now, since.get(run, 0.0)
            )
            free.append(ends[outcome.trial])
    ended = sum(outcome.state is not None for outcome in drawn)
    if (waiting or len(ends) < len(running)) and ended < LEAST_ENDED:
        return Remaining(None, ends)
    free += [0.0] * (lanes - len(free))
    heapq.heapify(free)
    gap = _gap(outcomes)
    for _ in range(waiting):
        heapq.heappush(free, heapq.heappop(free) + gap + usual)
    of_finals = _finals_seconds(outcomes, lanes, scheduler, now, since, *finals)
    return Remaining(max(free, default=0.0) + of_finals or None, ends)


def _finals_seconds(
    outcomes: Outcomes,
    lanes: int,
    scheduler: SchedulerConfig,
    now: float,
    since: Mapping[tuple[int, int], float],
    count: int,
    seeds: int,
) -> float:
    """Estimate how long the finalists take, which begin when the last trial has ended.

    A run costs what its trial has cost or, once it has trained two epochs, what its own last ones
    do: the first may hold what is computed once. Which trials they are may still change.
    """
    lefts = []
    for trial in outcomes.ended()[:count]:
        each = max(_lane_seconds(trial) / trial.epochs, trial.epoch_seconds)
        for repeat in range(1, seeds + 1):
            key = (trial.trial, repeat)
            run = outcomes.repeats.get(key)
            whole = scheduler.max_epochs * each
            if run is None:
                lefts.append(whole)
            elif run.state is None and run.ended is None:
                lefts.append(_left_of(whole, now - since.get(key, now)))
            elif run.state is None:
                own = run.epoch_seconds if run.epochs > 1 else min(run.epoch_seconds, each)
                further = scheduler.max_epochs - run.epochs
                lefts.append(_until(run, further, own, now, since.get(key, 0.0)))
    ends = [0.0] * max(1, lanes)
    for left in sorted(lefts, reverse=True):
        heapq.heapreplace(ends, ends[0] + left)
    return max(ends)


def _left_of(usual: float, spent: float) -> float:
    """Estimate what is left of something; what has taken too long takes as long once more."""
    return max(LEAST_LEFT_S, abs(usual - spent))


def _until(outcome: Outcome, epochs: float, each: float, now: float, seen: float) -> float:
    """Estimate when a run that has reported ends.

    Args:
        epochs: that it is expected to train further.
        each: seconds an epoch.
        seen: Unix time at which it was first seen; 0 where that is not known.
    """
    assert outcome.ended is not None
    # A trial that a command goes on with has stood still until then.
    reported = max(outcome.ended, seen)
    if epochs <= 0:
        return 0.0
    return max(0.0, epochs - 1) * each + _left_of(min(1.0, epochs) * each, now - reported)


def _lane_seconds(outcome: Outcome) -> float:
    """Seconds for which a trial has held its lane."""
    assert outcome.began is not None and outcome.ended is not None
    return outcome.ended - outcome.began


def _usual_seconds(
    drawn: Sequence[Outcome], scheduler: SchedulerConfig, survival: Mapping[int, float]
) -> float:
    """Estimate for how long a trial holds its lane.

    Epochs between two rungs cost what they cost the trials that came there: those that survive are
    often the expensive ones.
    """
    seconds, chance, each = 0.0, 1.0, 0.0
    for start, end in pairwise([0, *scheduler.rungs(), scheduler.max_epochs]):
        there = [_lane_seconds(o) / o.epochs for o in drawn if o.epochs > start]
        each = sum(there) / len(there) if there else each
        seconds += chance * (end - start) * each
        chance *= survival.get(end, 1.0)
    return seconds


def _survival(outcomes: Outcomes, scheduler: SchedulerConfig) -> dict[int, float]:
    """Rung -> share of the trials there that went on, drawn towards one in ``reduction``."""
    found = {}
    for rung in scheduler.rungs():
        there = [
            o for o in outcomes.by_trial.values()
            if not o.reference and o.epochs >= rung and (o.epochs > rung or o.state is not None)
        ]  # fmt: skip
        on = sum(o.epochs > rung for o in there)
        found[rung] = (on + PRIOR / scheduler.reduction) / (len(there) + PRIOR)
    return found


def _expected_epochs(
    outcome: Outcome, scheduler: SchedulerConfig, survival: Mapping[int, float]
) -> float:
    """Epochs that a running trial is still expected to train."""
    stops = [r for r in scheduler.rungs() if r > outcome.epochs and not outcome.reference]
    expected, chance = 0.0, 1.0
    for start, end in pairwise([outcome.epochs, *stops, scheduler.max_epochs]):
        expected += chance * (end - start)
        chance *= survival.get(end, 1.0)
    return expected


def _gap(outcomes: Outcomes) -> float:
    """Seconds that a lane usually takes from one trial to the next."""
    times = sorted(
        (o.lane, o.began, o.ended)
        for o in outcomes.by_trial.values()
        if o.began is not None and o.ended is not None
    )
    gaps = [
        after[1] - before[2]
        for before, after in pairwise(times)
        if before[0] == after[0] and after[1] >= before[2]
    ]
    return median(gaps) if gaps else 0.0
