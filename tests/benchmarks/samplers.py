"""What do TPE and ASHA bring to a search: ``python -m tests.benchmarks.samplers --json FILE``.

    python -m tests.benchmarks.samplers [--space FILE] [--seconds 90] [--seeds 5] --json FILE

Three ways to spend the same CPU time on a space: TPE with ASHA, random draws with ASHA, and random
draws that are all trained to the last epoch. The space is that of the file without its starting
points, which would give all three the same good configs; the settings below make it small. Draws,
scheduler and training are those of a search; trials follow one another in one process with one
thread, without Ray, each search with a cache of its own, and the time is that of the process.

Whenever a trial that has ended is the best so far on the validation sentences, it is scored on test
sentences that choose nothing; that takes no time of the search. The table has the test accuracy of
the best trial so far after shares of the time: mean, least and most of the seeds, which are those
of the sampler. A run that was ended goes on where the file ends.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from search.cluster.lane import OBJECTIVE
from search.cluster.scheduling import Numbered, make_scheduler
from search.runs.prepare import prepare
from search.sampling.study import SearchStudy
from search.settings.trial import TrialConfig
from search.training.loop import EpochReport, TrialError
from search.training.session import Session

WAYS = {
    "TPE with ASHA": ("tpe", "asha"),
    "random with ASHA": ("random", "asha"),
    "random alone": ("random", "none"),
}
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
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)


@dataclass
class Course:
    """How a search went.

    Attributes:
        points: seconds spent, and the test accuracy of the best trial from then on.
        trials: that have ended.
    """

    points: list[tuple[float, float]] = field(default_factory=list)
    trials: int = 0

    def after(self, seconds: float) -> float:
        """Test accuracy of the best trial after so many seconds; NaN before one has ended."""
        return next((test for spent, test in reversed(self.points) if spent <= seconds), math.nan)


class Search:
    """A search without Ray.

    Args:
        space: the file.
        sampler, scheduler: kinds.
        seed: of the sampler.
        folder: for the study and what is stored of frozen layers.
    """

    def __init__(self, space: Path, sampler: str, scheduler: str, seed: int, folder: Path) -> None:
        described = [f"search.sampler={{kind: {sampler}, seed: {seed}}}", *SMALL]
        described.append(f"cache.folder={folder / 'cache'}")
        if scheduler == "none":
            described.append("search.scheduler={kind: none, max_epochs: 9}")
        prepared = prepare(space, described)
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
        self._best = -math.inf
        self._spent = 0.0

    def run(self, seconds: float) -> Course:
        """Train trials until the time is spent; one that is cut short does not count."""
        course = Course()
        while (started := time.process_time()) and self._spent < seconds:
            drawn = self._study.draw()
            if drawn is None:
                break
            number, record, values = drawn
            config = TrialConfig.model_validate(values)
            try:
                report = self._train(number, record, config, started, seconds)
            except TrialError:
                self._study.fail(record)
                report = None
            self._spent += time.process_time() - started
            if report is None:
                continue
            course.trials += 1
            if report.scores.value > self._best:
                self._best = report.scores.value
                _, test = self._session.score(config, report.checkpoint)
                assert test is not None, "test_rows are put aside"
                course.points.append((self._spent, test.accuracy))
        return course

    def _train(
        self, number: int, record: Any, config: TrialConfig, started: float, seconds: float
    ) -> EpochReport | None:
        """Train a trial until it ends or the time is spent, which leaves None."""
        trial = Numbered({"trial": number})
        self._scheduler.on_trial_add(None, trial)
        for report in self._session.train(config):
            if self._spent + time.process_time() - started > seconds:
                return None
            value = report.scores.value
            self._study.report(record, report.epoch, value)
            result = {"epoch": report.epoch, OBJECTIVE: value}
            if report.epoch >= self._max_epochs:
                self._scheduler.on_trial_complete(None, trial, result)
                self._study.finish(record, value)
                return report
            if self._scheduler.on_trial_result(None, trial, result) == "STOP":
                self._study.stop(record)
                return report
        return None


def main() -> None:
    """Run what is missing in the file, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--space", type=Path, default=Path("spaces/lora_family.yaml"))
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"seconds": options.seconds, "runs": {}}
    if options.json.exists():
        found = json.loads(options.json.read_text())
        if found["seconds"] != options.seconds:
            raise SystemExit(f"{options.json} holds runs of {found['seconds']} s")
    for seed in range(options.seeds):
        for way, (sampler, scheduler) in WAYS.items():
            if f"{way}, seed {seed}" in found["runs"]:
                continue
            with tempfile.TemporaryDirectory() as folder:
                search = Search(options.space, sampler, scheduler, seed, Path(folder))
                course = search.run(options.seconds)
            found["runs"][f"{way}, seed {seed}"] = {
                "trials": course.trials, "points": course.points
            }  # fmt: skip
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    print_table(found)


def print_table(found: dict[str, Any]) -> None:
    """Print the mean, least and most test accuracy after shares of the time, as Markdown."""
    times = [share * found["seconds"] for share in SHARES]
    print("| way | trials | " + " | ".join(f"{seconds:.0f} s" for seconds in times) + " |")
    print("|---|---|" + "---|" * len(times))
    for way in WAYS:
        runs = [one for name, one in found["runs"].items() if name.startswith(f"{way}, ")]
        courses = [Course([(s, t) for s, t in one["points"]]) for one in runs]
        cells = []
        for seconds in times:
            tests = [course.after(seconds) for course in courses]
            known = not any(map(math.isnan, tests))
            cells.append(
                f"{mean(tests):.3f} ({min(tests):.3f} to {max(tests):.3f})" if known else ""
            )
        trials = mean(one["trials"] for one in runs)
        print(f"| {way} | {trials:.0f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
