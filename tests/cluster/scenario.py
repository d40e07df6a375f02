"""A search on a cluster whose machines and workers come and go, and what it costs."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from search.events.journal import read_journal
from search.events.types import EpochDone, Event, Note, TrialEnded
from tests.cluster.machines import SPACE, Machines, finish, wait_for

PATIENCE_S = 600.0  # until something has happened; far more than it takes
SEARCH = """
optimizer: {lr: {float: [1.0e-4, 1.0e-2], log: true}}
search: {trials: 5000, sampler: {kind: random}, scheduler: {kind: none, max_epochs: 60}}
"""


@dataclass
class Step:
    """What was done to the cluster, what the search said of it, and how long it took to go on."""

    what: str
    seconds: float
    said: str


@dataclass
class Scenario:
    """A search on a cluster, while things happen to it.

    Attributes:
        steps: what happened so far.
    """

    cluster: Machines
    name: str
    space: str = SPACE + SEARCH
    steps: list[Step] = field(default_factory=list)

    def start(self, *words: str) -> None:
        """Start the search."""
        self._process = self.cluster.search(self.space, self.name, *words)

    @property
    def process(self) -> subprocess.Popen[str]:
        """The command."""
        return self._process

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.cluster.head.home / "runs" / self.name

    def events(self) -> list[Event]:
        """What has happened in the run so far."""
        assert self._process.poll() is None, finish(self._process, 10)
        journal = self.folder / "journal.jsonl"
        return list(read_journal(journal)) if journal.exists() else []

    def epochs(self) -> list[EpochDone]:
        """The epochs reported so far."""
        return [event for event in self.events() if isinstance(event, EpochDone)]

    def notes(self) -> list[str]:
        """What was told so far."""
        return [event.text for event in self.events() if isinstance(event, Note)]

    def wait_for_lanes(self, count: int) -> None:
        """Wait until so many lanes have each reported an epoch since now."""
        seen = len(self.epochs())
        wait_for(
            lambda: len({epoch.lane for epoch in self.epochs()[seen:]}) >= count,
            PATIENCE_S, f"{count} lanes in {self.folder}",
        )  # fmt: skip

    def wait_for_note(self, pattern: str) -> str:
        """Wait until something is told that matches a pattern."""
        found: list[str] = []

        def told() -> bool:
            found[:] = [note for note in self.notes() if re.search(pattern, note)]
            return bool(found)

        wait_for(told, PATIENCE_S, f"a note like {pattern!r}")
        return found[-1]

    def after(self, what: str, pattern: str, trial_goes_on: bool = False) -> Step:
        """Wait until the search has said what happened, and a trial that was hit has gone on.

        Args:
            pattern: of what it says.
            trial_goes_on: whether it names a trial, which must report again.
        """
        start, reported = time.monotonic(), len(self.epochs())
        said = self.wait_for_note(pattern)
        if trial_goes_on:
            named = re.search(r"of trial (\d+) was lost", said)
            assert named, said
            trial = int(named[1])
            wait_for(
                lambda: any(epoch.trial == trial for epoch in self.epochs()[reported:]),
                PATIENCE_S, f"trial {trial} goes on",
            )  # fmt: skip
        step = Step(what, time.monotonic() - start, said)
        self.steps.append(step)
        return step

    def end(self, number: int = signal.SIGINT) -> str:
        """Ask the search to end, and give what it printed."""
        self._process.send_signal(number)
        printed = finish(self._process, PATIENCE_S)
        assert "Traceback" not in printed, printed
        return printed

    def lost_trials(self) -> list[str]:
        """Why trials failed: there must be none."""
        events = read_journal(self.folder / "journal.jsonl")
        return [e.error for e in events if isinstance(e, TrialEnded) and e.state == "failed"]

    def curves(self) -> dict[int, list[int]]:
        """The epochs of each trial, in the order of the journal; in order, each once, or a loss."""
        curves: dict[int, list[int]] = defaultdict(list)
        for event in read_journal(self.folder / "journal.jsonl"):
            if isinstance(event, EpochDone):
                curves[event.trial].append(event.epoch)
        return dict(curves)
