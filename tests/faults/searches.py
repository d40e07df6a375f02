"""Real searches to injure: started as a user starts them, and what they leave looked at."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from search.events.journal import read_journal
from search.events.outcomes import Outcomes
from search.events.types import Event, TrialEnded

SPACE = Path(__file__).with_name("space.yaml")
LIMIT_S = 900.0  # of any one search
CLEAN_WITHIN_S = 30.0


@dataclass(frozen=True)
class Row:
    """What came of a fault.

    Attributes:
        fault: what was done.
        found: what happened, with figures.
        is_sound: whether that is what must be.
    """

    fault: str
    found: str
    is_sound: bool


def new_search(output: Path, name: str, *arguments: str) -> list[str]:
    """The command of a new search."""
    return [str(SPACE), "--output", str(output), "--name", name, *arguments]


def start(arguments: Sequence[str], scratch: Path | None = None) -> subprocess.Popen[str]:
    """Start the command in a session of its own, so that signals to its group reach no one else.

    Args:
        scratch: folder for its temporary files, so that they are told from those of other searches.
    """
    if scratch is None:
        environment = dict(os.environ)
    else:
        environment = os.environ | {
            "TMPDIR": str(scratch), "RAY_TMPDIR": tempfile.gettempdir()
        }  # fmt: skip
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored there, too
    return subprocess.Popen(
        [sys.executable, "-m", "search.run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )


def run(arguments: Sequence[str]) -> tuple[int, str]:
    """Run the command to its end: its exit status, and what it printed."""
    process = start(arguments)
    printed, _ = process.communicate(timeout=LIMIT_S)
    return process.returncode, printed


def events(folder: Path) -> list[Event]:
    """The journal of a run folder, as far as it has come."""
    file = folder / "journal.jsonl"
    return list(read_journal(file)) if file.exists() else []


def wait_for(
    process: subprocess.Popen[str], folder: Path, enough: Callable[[Iterable[Event]], bool]
) -> None:
    """Wait until the journal of a search holds enough.

    Raises:
        AssertionError: the search has ended before.
    """
    while process.poll() is None:
        if enough(events(folder)):
            return
        time.sleep(0.05)
    raise AssertionError(process.communicate()[0])


def one_finished(found: Iterable[Event]) -> bool:
    """Whether a trial has finished and another one was stopped."""
    states = {event.state for event in found if isinstance(event, TrialEnded)}
    return {"finished", "stopped"} <= states


def below(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that a search has started."""
    found: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    return found


def short_folder() -> Path:
    """Make a folder whose sockets may have names: these must be short."""
    return Path(tempfile.mkdtemp(prefix="f-"))


def left_over(started: list[psutil.Process], scratch: Path) -> list[str]:
    """Processes and scratch files of a search that are still there after the time allowed."""
    _, alive = psutil.wait_procs(started, timeout=CLEAN_WITHIN_S)
    names = [f"process {process.pid}" for process in alive]
    names += sorted(file.name for file in scratch.glob("isogloss-*"))
    shutil.rmtree(scratch)
    return names


def leaderboard(folder: Path) -> list[dict[str, str]]:
    """The leaderboard without its times."""
    with (folder / "leaderboard.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def ended(folder: Path) -> set[int]:
    """Numbers of the trials that have ended."""
    outcomes = Outcomes(events(folder)).by_trial
    return {number for number, outcome in outcomes.items() if outcome.state is not None}
