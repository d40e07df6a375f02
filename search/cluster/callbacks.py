"""What Tune tells of trials: into the journal, onto the screen, and when to stop."""

from __future__ import annotations

from pathlib import Path

from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial

from search.cluster.searcher import StudySearcher
from search.events.journal import Journal
from search.events.outcomes import Outcome, Outcomes, state_of
from search.events.replies import (
    EpochReply,
    LaneImpossible,
    ScoredReply,
    StorageLost,
    TrialFailed,
    describe_task,
)
from search.events.types import Event, Note, State, TrialEnded, TrialStarted
from search.report.terminal import View
from search.runs.results import Results
from search.runs.retention import Retention
from search.runs.stopping import StopRequest
from search.space.domains import REFERENCE_TRIAL

# So many trials in a row that end with the loss of their lane: none can be trained then.
MOST_LOST = 3


class Unpickled:
    """Tune pickles what it runs with; nothing of this project is ever restored from that."""

    def __getstate__(self) -> dict[str, object]:
        return {}


class StopSwitch(Unpickled, Stopper):
    """Ends the trials: when the command is asked to end, or when the recorder throws it.

    Args:
        request: of the command.

    Attributes:
        thrown: by the recorder.
    """

    def __init__(self, request: StopRequest) -> None:
        self.thrown = False
        self._request = request

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        return self.stop_all()

    def stop_all(self) -> bool:
        """Asked by Tune in every turn of its loop."""
        return self.thrown or self._request.asked()


class Recorder(Unpickled, Callback):
    """Writes what Tune hears into the journal and shows it.

    Args:
        results: what is shown of the trials, written anew at every end of one.
        retention: removes checkpoints at every end of a trial.
        searcher: knows what was drawn for a trial, and whether one that has lost its lane is given
            to another.
        outcomes: of the trials so far, none by default; kept up to date.

    Attributes:
        outcomes: of the trials so far.
        fatal: why no lane can train any trial; empty where they can.
        storage_fault: why checkpoints cannot be written; empty where they can.
    """

    def __init__(
        self,
        journal: Journal,
        view: View,
        max_epochs: int,
        switch: StopSwitch,
        results: Results,
        retention: Retention,
        searcher: StudySearcher,
        outcomes: Outcomes | None = None,
    ) -> None:
        self.outcomes = Outcomes() if outcomes is None else outcomes
        self.fatal = ""
        self.storage_fault = ""
        self._switch = switch
        self._results = results
        self._retention = retention
        self._told: set[str] = set()
        self._lost = 0  # trials in a row that ended with the loss of their lane
        self._searcher = searcher
        self._journal = journal
        self._view = view
        self._max_epochs = max_epochs

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        """A trial is given to a lane, for the first time or again."""
        if not _is_scoring(trial):
            self._meet(trial)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, object],
        **info: object,
    ) -> None:
        """A trial has done an epoch, failed, or found that its lane can train nothing.

        Or a model has been scored for the final comparison.
        """
        reply = result.get("reply")
        self._lost = 0
        if isinstance(reply, LaneImpossible):
            self.give_up(reply.message)
        if isinstance(reply, ScoredReply):
            self._note(reply.scored)
        if isinstance(reply, StorageLost):
            self.storage_fault = reply.message
            self._switch.thrown = True
        if not isinstance(reply, EpochReply):
            return
        for text in reply.notes:
            if text not in self._told:
                self._told.add(text)
                self.tell(text)
        if reply.untouched is not None and self.outcomes.untouched is None:
            self._note(reply.untouched)
        if reply.done.epoch not in self._meet(trial).curve:  # else it is said again
            self._note(reply.done)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        """A trial has ended: finished, stopped, or failed by its own fault."""
        reply = trial.last_result.get("reply")
        self._end(trial, reply.message if isinstance(reply, TrialFailed) else "")

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Write what was put off, where trials have ended at once."""
        self._results.catch_up(self.outcomes)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        """A trial has lost its lane, and either comes again or has lost too many."""
        if not _is_scoring(trial):
            self._meet(trial)
        if self._searcher.will_be_retried(trial.config):
            return
        lines = (trial.error_file and Path(trial.error_file).read_text().strip().splitlines()) or []
        error = lines[-1].removeprefix("RuntimeError: ") if lines else "its lane was lost"
        self._lost += 1
        if self._lost == MOST_LOST:
            self.give_up(f"{MOST_LOST} trials in a row have lost their lanes, the last by {error}")
        self._end(trial, error)

    def _end(self, trial: Trial, error: str) -> None:
        # Statistics of every number reported: most of what Tune keeps of a trial, and never asked.
        trial.metric_analysis.clear()
        trial.metric_n_steps.clear()
        if _is_scoring(trial):
            if error:
                self.tell(f"{describe_task(trial.config)}: {error}; it is left out")
            return
        outcome = self._meet(trial)
        if self.fatal or outcome.state is not None:
            return
        state = state_of(outcome.epochs, outcome.most_epochs or self._max_epochs, error)
        if state == "stopped" and self._switch.stop_all():
            return  # it was not the scheduler that stopped it: it is unfinished
        self.end(outcome.trial, state, error, outcome.repeat)

    def tell(self, text: str) -> None:
        """Say what the user should know, on the screen and in the journal."""
        self._note(Note(text=text))
        self._view.tell(text)

    def give_up(self, message: str) -> None:
        """End the search, as no lane can train any trial."""
        self.fatal = message
        self._switch.thrown = True

    def end(self, number: int, state: State, error: str = "", repeat: int = 0) -> None:
        """Note the end of a trial, and rank them anew."""
        self._note(TrialEnded(trial=number, repeat=repeat, state=state, error=error))
        if repeat:
            score = self.outcomes.run(number, repeat).scores.value
            self._view.status(f"finalist: trial {number} with seed {repeat} {state} at {score:.3f}")
        self._retention.apply(self.outcomes)
        if fault := self._results.write(self.outcomes):
            self._view.status(fault)

    def _meet(self, trial: Trial) -> Outcome:
        """Note a trial when it is first heard of: where its lane is lost at once, by its end."""
        number, repeat = trial.config["trial"], trial.config.get("repeat", 0)
        if not self.outcomes.has_run(number, repeat):
            self._note(
                TrialStarted(
                    trial=number,
                    repeat=repeat,
                    reference=number == REFERENCE_TRIAL and not repeat,
                    values=trial.config["values"],
                    drawn={} if repeat else self._searcher.drawn(number),
                    parent=trial.config.get("parent"),
                    epochs=trial.config.get("epochs"),
                )
            )
        return self.outcomes.run(number, repeat)

    def _note(self, event: Event) -> None:
        self._journal.append(event)
        self.outcomes.follow(event)
        self._view.update(self.outcomes)


def _is_scoring(trial: Trial) -> bool:
    """Whether Tune's trial is a model that is only scored."""
    return bool(trial.config.get("task") == "score")
