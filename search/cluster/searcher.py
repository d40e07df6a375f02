"""The study of a search, as Ray Tune asks for it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from search.cluster.scheduling import OBJECTIVE
from search.sampling.study import SearchStudy

if TYPE_CHECKING:
    import optuna
    from optuna.trial import Trial

# A trial that has lost so many lanes is at fault itself.
MOST_LOSSES = 2


@dataclass(frozen=True)
class _Drawn:
    """A trial that has been drawn: its record in the study, and what Tune is given."""

    record: Trial
    given: dict[str, Any]


class StudySearcher(Searcher):
    """Gives the trials of a study to Tune and tells the study how they ended.

    Ray's own OptunaSearch records a trial that ASHA stopped as complete, with the value of its
    small budget, and leaves one that ended in NaN running for ever.

    Args:
        max_epochs: epochs of a trial that finished.
        trials: how many to draw; None for as many as are asked for.
        unfinished: past trials, by their numbers, that go on before any other is drawn.
    """

    def __init__(
        self,
        study: SearchStudy,
        *,
        max_epochs: int,
        trials: int | None = None,
        unfinished: Mapping[int, Mapping[str, object]] | None = None,
    ) -> None:
        super().__init__(metric=OBJECTIVE, mode="max")
        self._study = study
        self._max_epochs = max_epochs
        self._left = math.inf if trials is None else trials
        self._running: dict[str, _Drawn] = {}
        self._lost = [
            _Drawn(study.unfinished[number], {"trial": number, "values": dict(values)})
            for number, values in (unfinished or {}).items()
        ]
        self._losses: Counter[int] = Counter()

    @property
    def study(self) -> optuna.Study:
        """The Optuna study."""
        return self._study.study

    def suggest(self, trial_id: str) -> dict[str, object] | str | None:
        """Draw a trial: its number, counted from 0, and its config as plain values.

        A trial that lost its lane is given again before a new one is drawn. Returns None while
        running trials might still be lost and come again, and FINISHED once there are none.
        """
        if self._lost:
            drawn = self._lost.pop(0)
        elif self._left > 0 and (found := self._study.draw()) is not None:
            self._left -= 1
            number, record, values = found
            drawn = _Drawn(record, {"trial": number, "values": values})
        else:
            self._left = 0  # the space may hold fewer configs than were asked for
            finished: str = Searcher.FINISHED
            return None if self._running else finished
        self._running[trial_id] = drawn
        return drawn.given

    def drawn(self, number: int) -> dict[str, object]:
        """What the sampler drew for a trial that runs, by the names of the domains."""
        records = (d.record for d in self._running.values() if d.given["trial"] == number)
        return next((record.params for record in records), {})

    def will_be_retried(self, number: int) -> bool:
        """Whether a trial waits for another lane."""
        return any(drawn.given["trial"] == number for drawn in self._lost)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record an intermediate value."""
        value = result.get(self.metric)
        if value is not None:
            self._study.report(self._running[trial_id].record, result["epoch"], value)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record how a trial ended."""
        if trial_id not in self._running:
            return
        drawn = self._running[trial_id]
        number: int = drawn.given["trial"]
        if error and self._losses[number] < MOST_LOSSES:
            # Tune itself gives up a trial whose lane dies as it is handed over.
            self._losses[number] += 1
            self._lost.append(self._running.pop(trial_id))
            return
        value = (result or {}).get(self.metric)
        if error or result is None or value is None or not math.isfinite(value):
            self._study.fail(self._running.pop(trial_id).record)
            return
        self.on_trial_result(trial_id, result)
        record = self._running.pop(trial_id).record
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
