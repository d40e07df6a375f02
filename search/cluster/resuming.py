"""Bring scheduler and journal to where an earlier command of the same search has left them."""

from __future__ import annotations

from collections.abc import Iterable

from ray.tune.schedulers import TrialScheduler

from search.cluster.scheduling import replay
from search.events.journal import Journal
from search.events.outcomes import Outcome, Outcomes
from search.events.replies import TrialSpec
from search.events.types import Event, TrialContinued, TrialEnded
from search.runs.resume import Past
from search.sampling.study import PastTrial, trial_facts


def settle(past: Past, scheduler: TrialScheduler, journal: Journal, max_epochs: int) -> list[Event]:
    """Replay what has happened, and note what becomes of each trial that is unfinished.

    A trial may have ended without a word of it in the journal, if that was lost: its last epoch was
    done, or the scheduler stopped it. The others go on.

    Returns:
        The events of the journal, with these.
    """
    events = list(past.events)
    stopped = replay(scheduler, events, max_epochs)
    outcomes = Outcomes(events)
    for (number, repeat), epoch in past.standing.items():
        outcome = outcomes.run(number, repeat)
        # A run with another seed is there to be scored again, for which it needs its checkpoint.
        done = epoch if repeat else outcome.epochs
        is_stopped = not repeat and number in stopped and done > 0 and not outcome.reference
        event: Event
        if done >= (outcome.most_epochs or max_epochs):
            event = TrialEnded(trial=number, repeat=repeat, state="finished")
        elif is_stopped:
            event = TrialEnded(trial=number, state="stopped")
        else:
            event = TrialContinued(trial=number, repeat=repeat, epoch=epoch)
        journal.append(event)
        events.append(event)
    return events


def past_trials(outcomes: Outcomes) -> list[PastTrial]:
    """The trials so far that were drawn, as the study takes them."""
    return [
        PastTrial(
            o.trial,
            o.values,
            o.drawn,
            o.curve,
            o.state,
            outcomes.violations(o),
            trial_facts(o.scores, o.epochs, o.seconds, o.trainable_parameters)
            if o.state in ("finished", "stopped")
            else {},
        )
        for o in outcomes.by_trial.values()
        if o.parent is None
    ]


def specs(outcomes: Iterable[Outcome]) -> list[TrialSpec]:
    """Trials as lanes take them."""
    return [
        TrialSpec(trial=o.trial, values=dict(o.values), parent=o.parent, epochs=o.most_epochs)
        for o in outcomes
    ]
