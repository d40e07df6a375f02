"""The driver of a search is killed at random moments, and the search is resumed each time."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import psutil

from search.events.types import (
    EpochDone,
    Event,
    TrialContinued,
    TrialEnded,
    TrialStarted,
)
from search.runs.lock import read_holder
from tests.faults.searches import (
    LIMIT_S,
    Row,
    below,
    events,
    leaderboard,
    new_search,
    run,
    short_folder,
    start,
)

KILLS_A_SEARCH = 5  # for about so many is the time between two chosen
AGENTS_S = 90.0  # two agents of Ray's seek its control store for a minute when all else is gone
START_SHARE = 0.2  # of the kills fall into the time before a command trains anything


@dataclass
class Findings:
    """What many kills have done.

    Attributes:
        kills: of drivers.
        lost: trials that had ended and were changed, removed or trained again.
        repeated: how many epochs a trial had to train again after a kill -> how often.
        silent: epochs out of order: trials that began again without a word in the journal.
        different: searches that ended with another leaderboard.
        left: processes that stayed, and partial files.
    """

    kills: int = 0
    searches: int = 0
    lost: list[str] = field(default_factory=list)
    repeated: Counter[int] = field(default_factory=Counter)
    silent: int = 0
    different: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def row(self) -> Row:
        """All of it in a sentence."""
        found = (
            f"{self.searches} searches; {len(self.lost)} ended trials lost or trained again, "
            f"epochs trained again by a kill: {dict(sorted(self.repeated.items()))}, "
            f"{self.silent} silent restarts, {len(self.different)} other leaderboards, left over: "
            f"{', '.join(self.left) or 'nothing'}"
        )
        bad = self.lost or self.silent or self.different or self.left
        return Row(
            f"driver killed {self.kills} times",
            found if not bad else f"{found}\n{self.lost}\n{self.different}",
            not bad and max(self.repeated, default=0) <= 1,
        )


def _holds(process: Popen[str], folder: Path) -> bool:
    """Whether a process writes to a run folder."""
    try:
        return int(json.loads(read_holder(folder))["pid"]) == process.pid
    except (ValueError, LookupError):
        return False


def _kill(
    process: Popen[str], folder: Path, wait: float, in_start: bool
) -> list[psutil.Process] | None:
    """Kill a driver so long after it has taken the run folder, or has told of the first epoch.

    Args:
        in_start: do not wait for the epoch, however long starting takes on a busy machine.

    Returns:
        The processes that it had started; None where it has ended before.
    """
    until = time.monotonic() + LIMIT_S
    trained = len(_epochs(folder))
    while not _holds(process, folder) or not (in_start or len(_epochs(folder)) > trained):
        if process.poll() is not None:
            return None
        assert time.monotonic() < until, "the search does not begin"
        time.sleep(0.02)
    time.sleep(wait)
    if process.poll() is not None:
        return None
    started = below(process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return started


def _epochs(folder: Path) -> list[EpochDone]:
    return [event for event in events(folder) if isinstance(event, EpochDone)]


def read_story(found: Iterable[Event]) -> tuple[Counter[int], int]:
    """How many epochs trials had to train again, and how many are out of order."""
    repeated: Counter[int] = Counter()
    done: dict[int, int] = {}
    silent = 0
    for event in found:
        match event:
            case TrialStarted():
                silent += event.trial in done
                done[event.trial] = 0
            case TrialContinued():
                repeated[done[event.trial] - event.epoch] += 1
                done[event.trial] = event.epoch
            case EpochDone():
                silent += event.epoch != done[event.trial] + 1
                done[event.trial] = event.epoch
    return repeated, silent


def _endings(folder: Path) -> dict[int, TrialEnded]:
    return {event.trial: event for event in events(folder) if isinstance(event, TrialEnded)}


def one_search(
    output: Path, name: str, findings: Findings, most: int, span: float, draw: random.Random
) -> Path:
    """Kill a search until it has ended, or so often; then let it end.

    Args:
        span: seconds that the search takes without a kill.
    """
    folder = output / name
    arguments = new_search(output, name)
    before: dict[int, TrialEnded] = {}
    orphans: list[psutil.Process] = []
    kills = 0
    while True:
        scratch = short_folder()
        process = start(arguments, scratch)
        wait = draw.uniform(0, 2 * span / KILLS_A_SEARCH)
        in_start = draw.random() < START_SHARE
        started = _kill(process, folder, wait, in_start) if kills < most else None
        if started is None:
            process.communicate(timeout=LIMIT_S)
            shutil.rmtree(scratch, ignore_errors=True)
            break
        kills += 1
        orphans += started
        shutil.rmtree(scratch, ignore_errors=True)
        now = _endings(folder)
        findings.lost += [f"{name}: trial {n}" for n, end in before.items() if now.get(n) != end]
        before = now
        arguments = ["--resume", str(folder)]
    findings.kills += kills
    findings.searches += 1
    _, alive = psutil.wait_procs(orphans, timeout=AGENTS_S)
    findings.left += [f"process {one.pid} of {name}" for one in alive]
    now = _endings(folder)
    findings.lost += [f"{name}: trial {n}" for n, end in before.items() if now.get(n) != end]
    repeated, silent = read_story(events(folder))
    findings.repeated += repeated
    findings.silent += silent
    findings.left += [str(path.relative_to(output)) for path in folder.rglob("*.new")]
    return folder


def rows(output: Path, count: int, seed: int | None = None) -> Iterator[Row]:
    """Kill drivers so many times, in as many searches as that takes."""
    began = time.monotonic()
    status, printed = run(new_search(output, "whole"))
    assert status == 0, printed
    span = time.monotonic() - began
    expected = leaderboard(output / "whole")
    yield Row("not disturbed", f"{len(expected) - 1} trials in {span:.0f} s", True)
    findings = Findings()
    draw = random.Random(seed)
    while findings.kills < count:
        name = f"killed-{findings.searches}"
        folder = one_search(output, name, findings, count - findings.kills, span, draw)
        found = leaderboard(folder)
        findings.different += [
            f"{name}: {one} instead of {other}"
            for one, other in zip(found, expected, strict=False)
            if one != other
        ]
        findings.different += [f"{name}: rows are missing"] * (len(found) != len(expected))
        yield findings.row()
