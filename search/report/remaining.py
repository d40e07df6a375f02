"""How long a search will still take, from what its trials have cost so far."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from search.events.outcomes import Outcome, Outcomes
from search.settings.interface import SchedulerConfig

# Weight of an ended trial against that of the next one: what the sampler draws changes on the way.
FORGETTING = 0.75
LEAST_ENDED = 2  # trials, beside the reference, before anything is said
PRIOR = 2.0  # trials that the scheduler's own share of survivors counts as


@dataclass(frozen=True)
class Remaining:
    """What is expected of a search.

    Attributes:
        seconds: until its last trial ends; None while too little is known.
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
    since: Mapping[int, float],
    finals: tuple[int, int] = (0, 0),
) -> Remaining:
    """Estimate when the running trials and the last one end.

    A running trial costs what its epochs have cost, for as many as it is expected to get; a waiting
    one what trials have cost of late. Both are then given to lanes as these become free.

    Args:
        trials: of the whole search.
        lanes: trials that run at a time.
        now: Unix time in seconds.
        since: running trial -> Unix time at which it was first seen.
        finals: how many trials are trained anew at the end, and with how many other seeds each.
    """
    ended = [o for o in outcomes.by_trial.values() if o.state is not None and o.began]
    running = [o for o in outcomes.by_trial.values() if o.state is None]
    waiting = max(0, trials - len(outcomes.by_trial))
    drawn = sorted((o for o in ended if not o.reference), key=lambda o: o.ended or 0.0)
    survival = _survival(outcomes, scheduler)
    usual = _recent_mean([_lane_seconds(o) for o in drawn])
    ends: dict[int, float] = {}
    free = []
    for outcome in running:
        if outcome.began is None or outcome.ended is None:
            spent = max(0.0, now - since.get(outcome.trial, now))
            left = usual - spent if spent < usual else usual / 2
        else:
            further = _expected_epochs(outcome, scheduler, survival)
            # A trial that a command goes on with has stood still until then.
            reported = max(outcome.ended, since.get(outcome.trial, 0.0))
            left = max(0.0, further * outcome.epoch_seconds - (now - reported))
            ends[outcome.trial] = left
        free.append(left)
    if (waiting or len(ends) < len(running)) and len(drawn) < LEAST_ENDED:
        return Remaining(None, ends)
    free += [0.0] * (lanes - len(free))
    heapq.heapify(free)
    gap = _gap(outcomes)
    for _ in range(waiting):
        heapq.heappush(free, heapq.heappop(free) + gap + usual)
    of_finals = _finals_seconds(outcomes, lanes, scheduler, now, *finals)
    return Remaining(max(free, default=0.0) + of_finals, ends)


def _finals_seconds(
    outcomes: Outcomes, lanes: int, scheduler: SchedulerConfig, now: float, count: int, seeds: int
) -> float:
    """Estimate how long the finalists take, which begin when the last trial has ended.

    A run costs what its trial has cost or, once it has trained an epoch, what its own epochs do.
    Which trials they are may still change.
    """
    lefts = []
    for trial in outcomes.ended()[:count]:
        for repeat in range(1, seeds + 1):
            run = outcomes.repeats.get((trial.trial, repeat))
            if run is not None and run.state is not None:
                continue
            if run is None or run.ended is None:
                each = max(_lane_seconds(trial) / trial.epochs, trial.epoch_seconds)
                lefts.append(scheduler.max_epochs * each)
            else:
                left = (scheduler.max_epochs - run.epochs) * run.epoch_seconds
                lefts.append(max(0.0, left - (now - run.ended)))
    ends = [0.0] * max(1, lanes)
    for left in sorted(lefts, reverse=True):
        heapq.heapreplace(ends, ends[0] + left)
    return max(ends)


def _lane_seconds(outcome: Outcome) -> float:
    """Seconds for which a trial has held its lane."""
    assert outcome.began is not None and outcome.ended is not None
    return outcome.ended - outcome.began


def _recent_mean(seconds: Sequence[float]) -> float:
    """Mean, the last ones counting most."""
    weights = [FORGETTING**age for age in reversed(range(len(seconds)))]
    return sum(w * s for w, s in zip(weights, seconds, strict=True)) / (sum(weights) or 1.0)


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
