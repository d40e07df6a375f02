"""A search is told to end: by signals to it or to its whole group, or by the time it has."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

from tests.faults.searches import (
    Row,
    below,
    leaderboard,
    left_over,
    new_search,
    one_finished,
    short_folder,
    start,
    wait_for,
)

MOST_SECONDS = 15.0
LONG = ("--trials", "500")

Send = Callable[["Popen[str]"], object]


def _twice(process: Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)


SIGNALS: dict[str, tuple[Send, int]] = {
    "SIGINT": (lambda process: process.send_signal(signal.SIGINT), 130),
    "SIGTERM": (lambda process: process.send_signal(signal.SIGTERM), 143),
    "SIGHUP": (lambda process: process.send_signal(signal.SIGHUP), 129),
    "SIGTERM to the group": (lambda process: os.killpg(process.pid, signal.SIGTERM), 143),
    "SIGHUP to the group": (lambda process: os.killpg(process.pid, signal.SIGHUP), 129),
    "SIGINT twice": (_twice, 130),
}


def by_signal(output: Path, name: str, most_seconds: float = MOST_SECONDS) -> Row:
    """Send a signal to a search in which a trial has finished.

    Args:
        most_seconds: that its end may take.
    """
    send, status = SIGNALS[name]
    folder = output / name.replace(" ", "-")
    scratch = short_folder()
    process = start(new_search(output, folder.name, *LONG), scratch)
    wait_for(process, folder, one_finished)
    started = below(process)
    sent = time.monotonic()
    send(process)
    printed, _ = process.communicate(timeout=300)
    seconds = time.monotonic() - sent
    best = (folder / "best").exists()
    left = left_over(started, scratch)
    ranked = len(leaderboard(folder))
    found = (
        f"exit {process.returncode} after {seconds:.1f} s, {ranked - 1} trials ranked, best/ "
        f"{'there' if best else 'missing'}, left: {', '.join(left) or 'nothing'}"
    )
    is_sound = (
        process.returncode == status
        and seconds <= most_seconds
        and ranked >= 3
        and (best or name == "SIGINT twice")
        and not left
        and not list(folder.rglob("*.new"))
        and "Traceback" not in printed
    )
    return Row(name, found if is_sound else f"{found}\n{printed[-2000:]}", is_sound)


def by_timeout(output: Path, seconds: int = 40) -> Row:
    """Give a search less time than its trials need."""
    scratch = short_folder()
    began = time.monotonic()
    process = start(new_search(output, "timeout", *LONG, "--timeout", f"{seconds}s"), scratch)
    folder = output / "timeout"
    wait_for(process, folder, one_finished)
    started = below(process)
    printed, _ = process.communicate(timeout=120)
    took = time.monotonic() - began
    best = (folder / "best").exists()
    left = left_over(started, scratch)
    found = (
        f"exit {process.returncode} after {took:.1f} s of {seconds}, best/ "
        f"{'there' if best else 'missing'}, left: {', '.join(left) or 'nothing'}"
    )
    is_sound = process.returncode == 0 and best and took <= seconds + 30 and not left
    return Row("--timeout", found if is_sound else f"{found}\n{printed[-2000:]}", is_sound)


def rows(output: Path, count: int) -> Iterator[Row]:
    """Every signal once, and the timeout."""
    for name in SIGNALS:
        yield by_signal(output, name)
    yield by_timeout(output)
