"""Where the time went, and what was saved."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean

from search.events.outcomes import Outcome, Outcomes
from search.report.section import Cell, ReportedRun, Section
from search.report.words import duration

ORDER = 60
TITLE = "Time"


def describe(run: ReportedRun) -> Section:
    """Share out the time of all lanes, and estimate what stopping and stored states saved."""
    timed = [o for o in run.outcomes.by_trial.values() if o.began and o.ended]
    if not timed:
        return Section(TITLE, ["No trial has trained an epoch."])
    began = min(o.began or 0.0 for o in timed)
    ended = max(o.ended or 0.0 for o in timed)
    lanes = len({o.lane for o in timed})
    held = sum((o.ended or 0.0) - (o.began or 0.0) for o in timed)
    trained = sum(o.seconds - _before(o) for o in timed)
    phases = {
        "start of cluster and workers": max(0.0, began - run.started) * lanes if run.started else 0,
        "training and evaluation": trained,
        "setting up trials, checkpoints": max(0.0, held - trained),
        "no trial, or an epoch that was cut short": max(0.0, lanes * (ended - began) - held),
    }
    stopped = sum(
        o.seconds / o.epochs * (run.max_epochs - o.epochs)
        for o in timed
        if o.state == "stopped" and run.max_epochs
    )
    saved = _saved_by_store(run.outcomes)
    total = sum(phases.values())
    sentences = [
        f"From the first to the last trial: {duration(ended - began)} on {lanes} "
        f"lane{'s' * (lanes > 1)}. The chart shares out the time of all lanes.",
        f"Early stopping saved about {duration(stopped)} of training: the epochs that stopped "
        f"trials did not train, at what theirs took.",
        f"Stored states of frozen layers saved about {duration(saved)}: for each kind of start, "
        f"what its first epoch took longer than later ones, times the epochs that found them "
        f"stored."
        if saved
        else "Stored states of frozen layers saved no time that could be measured.",
    ]
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": ["lanes"],
            "x": [seconds],
            "hovertemplate": f"{name}: %{{x:.0f}} s<extra></extra>",
        }
        for name, seconds in phases.items()
        if seconds
    ]
    layout = {
        "height": 260,
        "barmode": "stack",
        "xaxis": {"title": {"text": "seconds, of all lanes"}},
        "yaxis": {"showticklabels": False},
        "legend": {"orientation": "h", "y": 1.3},
    }
    rows: list[list[Cell]] = [
        [name, seconds, f"{100 * seconds / total:.0f} %"] for name, seconds in phases.items()
    ]
    rows += [["saved by early stopping (estimate)", stopped, ""]]
    rows += [["saved by stored states (estimate)", saved, ""]]
    return Section(TITLE, sentences, traces, layout, ["phase", "seconds", "share"], rows)


def _before(outcome: Outcome) -> float:
    """Seconds that a trial was trained by an earlier command, whose times are not known."""
    held = (outcome.ended or 0.0) - (outcome.began or 0.0)
    return max(0.0, outcome.seconds - held)


def _saved_by_store(outcomes: Outcomes) -> float:
    """Estimate the seconds that epochs were spared by finding the base's outputs stored."""
    kinds: dict[str, list[Outcome]] = {}
    for outcome in sorted(outcomes.by_trial.values(), key=lambda o: o.began or 0.0):
        if outcome.start and outcome.start != "tokens" and 1 in outcome.times:
            kinds.setdefault(outcome.start, []).append(outcome)
    saved = 0.0
    for trials in kinds.values():
        later = [epoch for outcome in trials for epoch in _epochs(outcome)[1:]]
        again = [_epochs(outcome)[0] for outcome in trials[1:]]
        if later or again:
            saved += max(0.0, trials[0].times[1] - fmean([*later, *again])) * len(later + again)
    return saved


def _epochs(outcome: Outcome) -> list[float]:
    """Seconds of each epoch whose beginning is known."""
    ends = sorted(outcome.times)
    return [outcome.times[ends[0]]] + [
        outcome.times[after] - outcome.times[before] for before, after in pairwise(ends)
    ]
