"""A search without training: its journal, checkpoints, study and scheduler are real.

What a trial scores is a function of its config and epoch, so a search takes a tenth of a second and
can be lost at hundreds of places.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from search.cluster.lane import OBJECTIVE
from search.cluster.resuming import past_trials, settle, specs
from search.cluster.scheduling import Numbered, make_scheduler
from search.cluster.searcher import StudySearcher
from search.events.journal import Journal, read_journal
from search.events.outcomes import Outcomes
from search.events.types import EpochDone, Event, TrialEnded, TrialStarted
from search.report.leaderboard import write_leaderboard
from search.runs.extension import extend
from search.runs.folder import Run
from search.runs.resume import JOURNAL, take_up
from search.runs.retention import Retention, checkpoints_of
from search.sampling.study import SearchStudy
from search.space.domains import Space
from search.space.run_config import RunConfig
from search.training.checkpoint import Checkpoint


class LostError(Exception):
    """The search is lost here."""


class Rehearsal:
    """Go on with the search in a folder until all trials have ended.

    Args:
        lost_after: events of the journal after which the search is lost; None for never.
        more: trials that go on from others.

    Attributes:
        trained: trial and epoch of each epoch that was trained by this command.
        notes: what is said of how the search goes on.
    """

    def __init__(
        self,
        folder: Path,
        space: Space,
        config: RunConfig,
        lost_after: int | None = None,
        more: Sequence[TrialStarted] = (),
    ) -> None:
        self._folder = folder
        self._left = lost_after
        self.trained: list[tuple[int, int]] = []
        settings = config.search
        self._checkpoints = checkpoints_of(folder, settings.checkpoints)
        past = take_up(folder, self._checkpoints)
        self.notes = past.notes
        self._max_epochs = settings.scheduler.max_epochs
        self._scheduler = make_scheduler(settings.scheduler)
        self._journal = Journal(folder / JOURNAL)
        past = extend(Run(self._journal, past), more).past
        self._outcomes = Outcomes(settle(past, self._scheduler, self._journal, self._max_epochs))
        self._retention = Retention(self._checkpoints, settings.keep)
        self._retention.apply(self._outcomes)
        before = self._outcomes.by_trial
        study = SearchStudy(
            space,
            settings.sampler,
            log=folder / "study.log",
            name=folder.name,
            past=past_trials(self._outcomes),
            taken=before,
        )
        assert settings.trials is not None
        self._searcher = StudySearcher(
            study,
            max_epochs=self._max_epochs,
            trials=max(0, settings.trials - self._outcomes.drawn),
            unfinished=specs(o for o in before.values() if o.state is None),
        )

    def run(self) -> None:
        """Run the trials, one at a time.

        Raises:
            LostError: where the search is to be lost.
        """
        try:
            for turn in range(1000):
                given = self._searcher.suggest(str(turn))
                if given == Searcher.FINISHED:
                    return
                assert isinstance(given, dict)
                self._train(str(turn), given)
        finally:
            self._journal.close()
            write_leaderboard(
                self._folder / "leaderboard.csv", Outcomes(read_journal(self._folder / JOURNAL))
            )

    def _train(self, name: str, given: dict[str, Any]) -> None:
        """What Tune, the lane and its worker do for one trial."""
        trial = Numbered(given)
        number = int(str(given["trial"]))
        if number not in self._outcomes.by_trial:
            drawn = self._searcher.drawn(number)
            values = dict(given["values"])
            self._note(
                TrialStarted(trial=number, reference=number == 0, values=values, drawn=drawn)
            )
        self._scheduler.on_trial_add(None, trial)
        outcome = self._outcomes.by_trial[number]
        facts = self._checkpoints.newest(number)
        if facts is not None:
            said = EpochDone.model_validate_json(facts["report"])
            if self._hear(name, trial, said):
                return
            first = said.epoch + 1
        elif outcome.parent is not None:
            assert self._checkpoints.newest(outcome.parent) is not None
            first = self._outcomes.by_trial[outcome.parent].epochs + 1
        else:
            first = 1
        for epoch in range(first, self._most_epochs(number) + 1):
            self.trained.append((number, epoch))
            done = _report(number, epoch, json.dumps(given["values"]))
            last = epoch == self._most_epochs(number)
            self._checkpoints.write(number, epoch, _checkpoint(done, last))
            if self._hear(name, trial, done):
                return

    def _most_epochs(self, number: int) -> int:
        return self._outcomes.by_trial[number].most_epochs or self._max_epochs

    def _hear(self, name: str, trial: Numbered, done: EpochDone) -> bool:
        """Take in what a worker says; whether the trial has ended."""
        if done.epoch not in self._outcomes.by_trial[done.trial].curve:
            self._note(done)
        result = {"epoch": done.epoch, OBJECTIVE: done.value}
        self._searcher.on_trial_result(name, result)
        if done.epoch >= self._most_epochs(done.trial):
            self._scheduler.on_trial_complete(None, trial, result)
            self._end(name, result, TrialEnded(trial=done.trial, state="finished"))
            return True
        if self._scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP:
            self._end(name, result, TrialEnded(trial=done.trial, state="stopped"))
            return True
        return False

    def _end(self, name: str, result: dict[str, float], event: TrialEnded) -> None:
        self._note(event)
        self._retention.apply(self._outcomes)
        self._searcher.on_trial_complete(name, result)

    def _note(self, event: Event) -> None:
        if self._left is not None:
            if self._left == 0:
                raise LostError
            self._left -= 1
        self._journal.append(event)
        self._outcomes.follow(event)


def _checkpoint(done: EpochDone, last: bool) -> Iterator[memoryview]:
    ones = {"w": torch.ones(3)}
    made = Checkpoint(done.epoch, done.seconds, ones, ones, [], report=done.model_dump_json())
    return made.pieces(lasting=last)


def _report(number: int, epoch: int, values: str) -> EpochDone:
    """A score that follows from a config and an epoch."""
    luck = int.from_bytes(hashlib.sha256(values.encode()).digest()[:4], "little") / 2**32
    accuracy = round(luck * (1 - 0.5**epoch), 6)
    return EpochDone(
        trial=number, epoch=epoch, loss=1 - accuracy, accuracy=accuracy,
        by_language={"de": accuracy}, seconds=float(epoch), trainable_parameters=7,
        start="tokens", began=0.0, ended=1.0,
    )  # fmt: skip
