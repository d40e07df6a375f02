"""The study of a search, as Ray Tune asks for it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from search.cluster.lane import OBJECTIVE
from search.events.outcomes import scores_of
from search.events.replies import EpochReply, TrialSpec, describe_task
from search.sampling.study import SearchStudy, trial_facts
from search.scoring.constraints import Constraints
from search.space.domains import REFERENCE_TRIAL

if TYPE_CHECKING:
    import optuna
    from optuna.trial import Trial

# A trial that has lost so many lanes since its last epoch is at fault itself.
MOST_LOSSES = 2


@dataclass(frozen=True)
class _Drawn:
    """A trial: its record in the study, and what Tune is given.

    Tasks of the finals (`search.finals`) have no record, nor have trials that go on from others.
    """

    record: Trial | None
    given: dict[str, Any]


class StudySearcher(Searcher):
    """Gives the trials of a study to Tune and tells the study how they ended.

    Ray's own OptunaSearch records a trial that ASHA stopped as complete, with the value of its
    small budget, and leaves one that ended in NaN running for ever.

    Args:
        max_epochs: epochs of a trial that finished.
        trials: how many to draw; None for as many as are asked for.
        unfinished: past trials that go on before any other is drawn.
        constraints: what the best model must keep; nothing by default.
        reference: accuracy of the reference by language, as far as it is known.
        finals: what to do when no trial is left and none runs; asked again when that is done.
        room: how many trials may run at a time; asked before each is given.
    """

    def __init__(
        self,
        study: SearchStudy,
        *,
        max_epochs: int,
        trials: int | None = None,
        unfinished: Sequence[TrialSpec] = (),
        finals: Callable[[], Sequence[TrialSpec]] = lambda: (),
        constraints: Constraints | None = None,
        reference: Mapping[str, float] | None = None,
        room: Callable[[], float] = lambda: math.inf,
    ) -> None:
        super().__init__(metric=OBJECTIVE, mode="max")
        self._study = study
        self._max_epochs = max_epochs
        self._left = math.inf if trials is None else trials
        self._running: dict[str, _Drawn] = {}
        self._lost = [
            _Drawn(
                None if spec.trial is None else study.unfinished.get(spec.trial),
                spec.model_dump(),
            )
            for spec in unfinished
        ]
        self._losses: Counter[str] = Counter()
        self._finals = finals
        self._constraints = constraints or Constraints()
        self._reference = reference
        self._given: set[str] = set()
        self._room = room
        self._finished = False

    @property
    def awaits_finals(self) -> bool:
        """Whether no trial is left to draw, and tasks of the finals may follow."""
        return self._left <= 0 and not self._lost and not self._finished

    @property
    def study(self) -> optuna.Study:
        """The Optuna study."""
        return self._study.study

    def suggest(self, trial_id: str) -> dict[str, object] | str | None:
        """Draw a trial: its number, counted from 0, and its config as plain values.

        A trial that lost its lane is given again before a new one is drawn. Returns None while
        there is no room, or running trials might still be lost and come again, and FINISHED once
        there are none.
        """
        if len(self._running) >= self._room():
            return None
        if self._lost:
            drawn = self._lost.pop(0)
        elif self._left > 0 and (found := self._study.draw()) is not None:
            self._left -= 1
            number, record, values = found
            drawn = _Drawn(record, {"trial": number, "values": values})
        else:
            self._left = 0  # the space may hold fewer configs than were asked for
            if self._running:
                return None
            # One that failed is not given again.
            tasks = [task.model_dump() for task in self._finals()]
            self._lost = [_Drawn(None, t) for t in tasks if describe_task(t) not in self._given]
            if not self._lost:
                self._finished = True
                finished: str = Searcher.FINISHED
                return finished
            drawn = self._lost.pop(0)
        self._given.add(describe_task(drawn.given))
        self._running[trial_id] = drawn
        return drawn.given

    def drawn(self, number: int) -> dict[str, object]:
        """What the sampler drew for a trial that runs, by the names of the domains."""
        records = (d.record for d in self._running.values() if d.given["trial"] == number)
        return next((record.params for record in records if record is not None), {})

    def will_be_retried(self, config: Mapping[str, object]) -> bool:
        """Whether what Tune was given waits for another lane."""
        return any(describe_task(drawn.given) == describe_task(config) for drawn in self._lost)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record an intermediate value."""
        value, reply = result.get(self.metric), result.get("reply")
        drawn = self._running[trial_id]
        if value is not None:
            self._losses.pop(describe_task(drawn.given), None)
        if drawn.record is None:
            return
        if isinstance(reply, EpochReply) and drawn.given["trial"] == REFERENCE_TRIAL:
            self._reference = reply.done.by_language
        if value is not None:
            self._study.report(drawn.record, result["epoch"], value)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record how a trial ended."""
        if trial_id not in self._running:
            return
        drawn = self._running[trial_id]
        name = describe_task(drawn.given)
        if error and self._losses[name] < MOST_LOSSES:
            # Tune itself gives up a trial whose lane dies as it is handed over.
            self._losses[name] += 1
            self._lost.append(self._running.pop(trial_id))
            return
        if drawn.record is None:
            del self._running[trial_id]
            return
        value = (result or {}).get(self.metric)
        if error or result is None or value is None or not math.isfinite(value):
            self._study.fail(drawn.record)
            del self._running[trial_id]
            return
        self.on_trial_result(trial_id, result)
        record, reply = drawn.record, result.get("reply")
        if isinstance(reply, EpochReply):
            done = reply.done
            facts = trial_facts(
                scores_of(done), done.epoch, done.seconds, done.trainable_parameters
            )
            self._study.describe(record, facts)
            if not self._constraints.are_none:
                violations = self._constraints.violations(
                    done.by_language, self._reference, done.trainable_parameters
                )
                self._study.constrain(record, violations)
        del self._running[trial_id]
        if result["epoch"] >= self._max_epochs:
            self._study.finish(record, value)
        else:
            self._study.stop(record)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles what it runs with; nothing of this project is ever restored from that."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the study's journal file holds all of it."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the study's journal file holds all of it."""
