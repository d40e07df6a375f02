"""What became of the trials of a run, from its events."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pydantic import JsonValue

from search.events.types import (
    AVERAGED,
    EpochDone,
    Event,
    FinalsDecided,
    JournalStarted,
    ModelScored,
    SplitScores,
    State,
    TrialContinued,
    TrialEnded,
    TrialStarted,
    UntouchedScored,
    added_by,
)
from search.scoring.constraints import Constraints, preference
from search.settings.trial import Scores


@dataclass
class Outcome:
    """What is known of one trial.

    Attributes:
        repeat: 0, or the number of its run with another seed; `AVERAGED` for the mean of the
            weights of several.
        averaged: the numbers of these.
        state: None while it runs.
        epochs: done so far.
        seconds: of training and evaluation.
        error: why it failed.
        drawn: what the sampler drew for it.
        parent: the trial whose weights it goes on from; None where it began with fresh ones.
        most_epochs: how many it is to have done at its end; None for as many as all trials.
        scores: of the last epoch.
        curve: epoch -> what the search maximises, after it.
        times: epoch -> seconds of training and evaluation up to its end.
        start: what its encoder started from, as in `EpochDone`.
        began, ended: Unix times, in seconds, at which a worker took the trial and of its last
            report; None before the first report.
        epoch_seconds: time from one of its reports to the next, of late.
        lane: process id of its lane; 0 without lanes.
    """

    trial: int
    values: Mapping[str, JsonValue]
    reference: bool = False
    state: State | None = None
    epochs: int = 0
    seconds: float = 0.0
    scores: Scores = field(default_factory=lambda: Scores(math.nan, {}))
    trainable_parameters: int | None = None
    added_parameters: int = 0
    error: str = ""
    drawn: Mapping[str, JsonValue] = field(default_factory=dict)
    parent: int | None = None
    most_epochs: int | None = None
    curve: dict[int, float] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict)
    start: str = ""
    began: float | None = None
    ended: float | None = None
    epoch_seconds: float = 0.0
    lane: int = 0
    repeat: int = 0
    averaged: tuple[int, ...] = ()

    def note_time(self, done: EpochDone) -> None:
        """Take in when an epoch ended. The first one may hold what later ones are spared."""
        took = done.ended - (self.ended if self.began == done.began and self.ended else done.began)
        first = self.began != done.began or done.epoch <= 2
        self.epoch_seconds = took if first else (self.epoch_seconds + took) / 2
        self.began, self.ended, self.lane = done.began, done.ended, done.lane

    @property
    def has_score(self) -> bool:
        """Whether it has trained an epoch and not failed."""
        return self.epochs > 0 and self.state != "failed"

    @property
    def accuracy(self) -> float:
        """Of the last epoch, mean over the languages."""
        return self.scores.accuracy

    @property
    def by_language(self) -> dict[str, float]:
        """Accuracy of the last epoch."""
        return self.scores.by_language


class Outcomes:
    """The trials of a run, followed event by event.

    Attributes:
        constraints: that the best trial is to keep.
        by_trial: number -> trial, as it was drawn and trained in the search.
        repeats: number and repeat -> run of a finalist with another seed.
        scored: number and repeat -> scores for the final comparison; of the base without training,
            under None and 0, of averages under `AVERAGED`.
        decided: what came of that comparison; None where it has not been made.
        untouched: scores of the base without training; None until they are known.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.constraints = Constraints()
        self.by_trial: dict[int, Outcome] = {}
        self.repeats: dict[tuple[int, int], Outcome] = {}
        self.scored: dict[tuple[int | None, int], ModelScored] = {}
        self.decided: FinalsDecided | None = None
        self.untouched: Scores | None = None
        self._of_reference: dict[int, Scores] = {}  # by epoch
        for event in events:
            self.follow(event)

    def follow(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case JournalStarted():
                self.constraints = event.constraints
            case TrialStarted():
                outcome = Outcome(event.trial, event.values, event.reference, drawn=event.drawn)
                if event.parent is not None:  # what is known of its weights is known of it
                    parent = self.run(event.parent, event.repeat)
                    outcome = replace(
                        parent, trial=event.trial, values=event.values, reference=False,
                        state=None, drawn={}, curve=dict(parent.curve), times=dict(parent.times),
                        parent=event.parent, most_epochs=event.epochs, began=None, ended=None,
                    )  # fmt: skip
                outcome.repeat = event.repeat
                self.decided = None  # there may be a better one
                if event.repeat:
                    self.repeats[event.trial, event.repeat] = outcome
                else:
                    self.by_trial[event.trial] = outcome
            case TrialContinued():
                outcome = self.run(event.trial, event.repeat)
                if event.epoch < outcome.epochs:
                    outcome.curve = {e: a for e, a in outcome.curve.items() if e <= event.epoch}
                    outcome.epochs = event.epoch
                    # Only what is maximised is known of earlier epochs.
                    kept = outcome.curve.get(event.epoch, math.nan)
                    known = outcome.scores.objective is None
                    outcome.scores = Scores(
                        kept if known else math.nan, {}, None if known else kept
                    )
            case EpochDone():
                outcome = self.run(event.trial, event.repeat)
                outcome.curve[event.epoch] = event.value
                outcome.times[event.epoch] = event.seconds
                outcome.start = event.start
                outcome.epochs = event.epoch
                outcome.seconds = event.seconds
                outcome.scores = scores_of(event)
                if outcome.reference and not event.repeat:
                    self._of_reference[event.epoch] = outcome.scores
                outcome.trainable_parameters = event.trainable_parameters
                outcome.added_parameters = added_by(event)
                outcome.note_time(event)
            case TrialEnded():
                outcome = self.run(event.trial, event.repeat)
                outcome.state = event.state
                outcome.error = event.error
            case UntouchedScored():
                self.untouched = scores_of(event)
            case ModelScored():
                self.decided = None
                self.scored[event.trial, event.repeat] = event
            case FinalsDecided():
                self.decided = event

    def run(self, trial: int, repeat: int = 0) -> Outcome:
        """Find a trial, its run with another seed or, of a number `AVERAGED`, these as one model.

        Raises:
            KeyError: it has not been started, or the average not been scored.
        """
        if repeat == AVERAGED:
            return self._average(trial)
        return self.repeats[trial, repeat] if repeat else self.by_trial[trial]

    def _average(self, trial: int) -> Outcome:
        scored = self.scored[trial, AVERAGED]
        runs = [self.repeats[trial, repeat] for repeat in scored.averaged]
        return replace(
            runs[0], values=self.by_trial[trial].values, repeat=AVERAGED, averaged=scored.averaged,
            scores=scores_of(scored.validation), seconds=sum(run.seconds for run in runs),
            curve={}, times={},
        )  # fmt: skip

    def has_run(self, trial: int, repeat: int = 0) -> bool:
        """Whether a trial, or its run with another seed, has been started."""
        return (trial, repeat) in self.repeats if repeat else trial in self.by_trial

    @property
    def drawn(self) -> int:
        """How many trials the search has drawn; those with a parent are not among them."""
        return sum(outcome.parent is None for outcome in self.by_trial.values())

    def runs(self) -> dict[tuple[int, int], Outcome]:
        """Every run by trial and repeat: the trials, then those with other seeds."""
        return {(number, 0): outcome for number, outcome in self.by_trial.items()} | self.repeats

    def count(self, state: State | None) -> int:
        """Trials in a state; None counts those that run."""
        return sum(outcome.state == state for outcome in self.by_trial.values())

    def reference(self) -> Scores | None:
        """Scores of the reference trial, as far as it has come; None where there are none."""
        found = self.reference_trial()
        return None if found is None or not found.epochs else found.scores

    def reference_after(self, epochs: int) -> Scores | None:
        """Scores of the reference trial after so many epochs, or its last where it has no such."""
        return self._of_reference.get(epochs) or self.reference()

    def reference_trial(self) -> Outcome | None:
        """Find the trial that the others are compared with; None before it has been started."""
        return next((o for o in self.by_trial.values() if o.reference), None)

    def languages(self) -> list[str]:
        """Every language that a trial or the base without training has a score of."""
        of_trials = (name for outcome in self.ranked() for name in outcome.by_language)
        of_base = self.untouched.by_language if self.untouched is not None else ()
        return list(dict.fromkeys([*of_trials, *of_base]))

    def ranked(self) -> list[Outcome]:
        """Best first: by what is maximised, the smaller model, the earlier trial; failed last.

        Those that keep the constraints stand before the others, and of these the ones that are
        nearest to keeping them.
        """

        def key(outcome: Outcome) -> tuple[bool, tuple[float, float, int, int]]:
            size, value = outcome.trainable_parameters, outcome.scores.value
            if outcome.state == "failed" or not math.isfinite(value):
                return True, preference({}, 0.0, size, outcome.trial)
            return False, preference(self.violations(outcome), value, size, outcome.trial)

        return sorted(self.by_trial.values(), key=key)

    def violations(self, outcome: Outcome) -> dict[str, float]:
        """How far a trial is from keeping each constraint, as in `Constraints.violations`."""
        if self.constraints.are_none:
            return {}
        reference = self.reference()
        of_reference = None if reference is None else reference.by_language
        size = outcome.trainable_parameters
        return self.constraints.violations(outcome.by_language, of_reference, size)

    def leader(self) -> Outcome | None:
        """The first of the ranking, if it has a score; it may still run, or have been cut short."""
        first = next(iter(self.ranked()), None)
        scored = first is not None and first.state != "failed"
        scored = scored and first is not None and math.isfinite(first.scores.value)
        return first if scored else None

    def best(self) -> Outcome | None:
        """The trial that the final comparison chose, as the search trained it.

        Without one, it is the best that has ended, as best/ is; without that, the leader.
        """
        if self.decided is not None:
            return self.by_trial[self.decided.trial]
        return next(iter(self.ended()), None) or self.leader()

    def best_run(self) -> Outcome | None:
        """What best/ is: `best`, or the run with another seed that was chosen of it."""
        if self.decided is not None:
            return self.run(self.decided.trial, self.decided.repeat)
        return self.best()

    def ended(self) -> list[Outcome]:
        """Those that finished or were stopped by the scheduler and have a score, best first.

        An unfinished trial may have a checkpoint that is newer than its score.
        """
        ended = (o for o in self.ranked() if o.state in ("finished", "stopped"))
        return [outcome for outcome in ended if math.isfinite(outcome.scores.value)]


def scores_of(event: EpochDone | UntouchedScored | SplitScores) -> Scores:
    """The scores that an event tells of."""
    return Scores(event.accuracy, event.by_language, event.objective, event.metric)


def state_of(epochs: int, max_epochs: int, error: str) -> State:
    """How a trial that has ended is recorded."""
    if error:
        return "failed"
    return "finished" if epochs >= max_epochs else "stopped"
