"""A search without Ray, in one process: the draws, the scheduler and the training are real."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.cluster.lane import OBJECTIVE
from search.cluster.scheduling import Numbered, make_scheduler
from search.events.outcomes import Outcomes, state_of
from search.events.types import JournalStarted, SplitScores, TrialEnded, TrialStarted
from search.runs.prepare import prepare
from search.sampling.study import SearchStudy
from search.scoring.constraints import total
from search.settings.trial import TrialConfig
from search.training.checkpoint import Checkpoint
from search.training.loop import TrialError
from search.training.session import Session

# What makes a space small, and leaves its starting points out.
SMALL = (
    "search.start=[]",
    "search.finalists=null",
    "data.languages=[en, ko, de, gu]",
    "data.train_rows=1200",
    "data.validation_rows=150",
    "data.test_rows=600",
    "training.batch_size=32",
    "training.pairs_per_epoch=128",
)


def measure_missing(
    file: Path,
    settings: dict[str, Any],
    ways: Iterable[str],
    seeds: int,
    measure: Callable[[str, int], dict[str, Any]],
) -> dict[str, Any]:
    """Measure each way with each seed, unless the file has it, and write each down as it ends.

    Args:
        settings: that all runs of the file share.

    Returns:
        Way and seed, as ``"WAY, seed N"`` -> what was measured.

    Raises:
        SystemExit: the file holds runs of other settings.
    """
    found: dict[str, Any] = settings | {"runs": {}}
    if file.exists():
        earlier = json.loads(file.read_text())
        if earlier | {"runs": {}} != found:
            raise SystemExit(f"{file} holds runs of other settings")
        found = earlier
    runs: dict[str, Any] = found["runs"]
    for seed in range(seeds):
        for way in ways:
            if f"{way}, seed {seed}" not in runs:
                runs[f"{way}, seed {seed}"] = measure(way, seed)
                file.write_text(json.dumps(found, indent=1) + "\n")
    return runs


@dataclass
class Course:
    """How a search went.

    Attributes:
        points: seconds spent, and the test scores of the best trial from then on.
        reference: test scores of the reference trial at its end; None where that was not reached.
        trials: that have ended.
        kept: whether the best keeps the constraints on the validation sentences.
    """

    points: list[tuple[float, SplitScores]] = field(default_factory=list)
    reference: SplitScores | None = None
    trials: int = 0
    kept: bool = False


class BareSearch:
    """A search whose trials follow one another in this process.

    Args:
        space: the file.
        assignments: settings that replace the file's; rows for the test are among them.
        folder: for the study and what is stored of frozen layers.

    Attributes:
        families: language -> name of its family.
    """

    def __init__(self, space: Path, assignments: Sequence[str], folder: Path) -> None:
        prepared = prepare(space, [*assignments, f"cache.folder={folder / 'cache'}"])
        split, settings = prepared.split, prepared.config.search
        self._max_epochs = settings.scheduler.max_epochs
        self._scheduler = make_scheduler(settings.scheduler)
        self._session = Session(
            prepared.session, split.train, split.validation, None, "cpu", test=split.test
        )
        self._study = SearchStudy(
            prepared.space,
            settings.sampler,
            log=folder / "study.log",
            name="search",
            refuse=prepared.refuse,
        )
        self._outcomes = Outcomes([JournalStarted(constraints=settings.constraints)])
        self._folder = folder
        self._spent = 0.0
        self.families = split.train.family_by_language

    def run(self, seconds: float) -> Course:
        """Train trials until the CPU time is spent; one that is cut short does not count.

        Whenever another trial is the best of those that have ended, it is scored on the test
        sentences, which takes no time of the search. Of constraints, the reference is the first
        trial, so that only a trial that ends can become the best.
        """
        course = Course()
        while self._spent < seconds:
            started = time.process_time()
            drawn = self._study.draw()
            if drawn is None:
                break
            number, record, values = drawn
            self._outcomes.follow(TrialStarted(trial=number, reference=number == 0, values=values))
            config = TrialConfig.model_validate(values)
            checkpoint = self._train(number, record, config, started, seconds)
            self._spent += time.process_time() - started
            if checkpoint is None:
                continue
            course.trials += 1
            if number == 0:
                course.reference = self._test(config, checkpoint)
            ended = self._outcomes.ended()
            if ended and ended[0].trial == number:
                course.points.append((self._spent, self._test(config, checkpoint)))
                course.kept = not total(self._outcomes.violations(ended[0]))
        return course

    def _test(self, config: TrialConfig, checkpoint: Checkpoint) -> SplitScores:
        _, test = self._session.score(config, checkpoint)
        assert test is not None, "rows for it are among the assignments"
        return test

    def _train(
        self, number: int, record: Any, config: TrialConfig, started: float, seconds: float
    ) -> Checkpoint | None:
        """Train a trial until it ends; None where it failed or the time was spent before."""
        trial = Numbered({"trial": number})
        self._scheduler.on_trial_add(None, trial)
        try:
            for report in self._session.train(config):
                if self._spent + time.process_time() - started > seconds:
                    return None
                done = report.event(number, time.time())
                self._outcomes.follow(done)
                self._study.report(record, report.epoch, done.value)
                result = {"epoch": report.epoch, OBJECTIVE: done.value}
                is_last = report.epoch >= self._max_epochs
                if is_last:
                    self._scheduler.on_trial_complete(None, trial, result)
                elif self._scheduler.on_trial_result(None, trial, result) != "STOP":
                    continue
                self._outcomes.follow(
                    TrialEnded(trial=number, state=state_of(report.epoch, self._max_epochs, ""))
                )
                outcome = self._outcomes.by_trial[number]
                self._study.constrain(record, self._outcomes.violations(outcome))
                if is_last:
                    self._study.finish(record, done.value)
                else:
                    self._study.stop(record)
                # The base takes its own weights back when the trial is closed.
                file = self._folder / f"checkpoint-{number}"  # the tensors stay on the disk
                file.write_bytes(b"".join(report.pieces(done, last=True)))
                return Checkpoint.read(file)
        except TrialError:
            self._outcomes.follow(TrialEnded(trial=number, state="failed"))
            self._study.fail(record)
        return None
