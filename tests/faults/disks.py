"""The disk is full: at a checkpoint, at the journal, at the export. Then room is made."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from search.events.types import EpochDone, Event, TrialEnded
from tests.faults.searches import (
    LIMIT_S,
    Row,
    events,
    leaderboard,
    new_search,
    run,
    start,
    wait_for,
)

SIZE = 64 * 2**20  # bytes; a run folder with best/ takes a quarter of it
TRIALS = ("--trials", "3")
FULL = "No space left on device"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small file system in memory.

    Raises:
        PermissionError: this is not allowed.
    """
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise PermissionError(mounted.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, left: int = 0) -> Path:
    """Fill a disk with one file; so many bytes are left."""
    filler = disk / "filler"
    size = shutil.disk_usage(disk).free - left
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return filler


def an_epoch(found: Iterable[Event]) -> bool:
    """Whether a trial has done an epoch."""
    return any(isinstance(event, EpochDone) for event in found)


def at_work(disk: Path, name: str, left: int, *settings: str) -> Row:
    """Fill the disk of a search at work, see it end, make room and resume it.

    Args:
        left: bytes that are left, for what is to fit.
    """
    folder = disk / "run"
    process = start(new_search(disk, "run", *TRIALS, *settings))
    wait_for(process, folder, an_epoch)
    filler = fill(disk, left)
    printed, _ = process.communicate(timeout=LIMIT_S)
    return _resume(name, folder, filler, process.returncode, printed)


def at_export(disk: Path) -> Row:
    """Fill the disk of a complete search whose model is to be made anew."""
    folder = disk / "run"
    status, printed = run(new_search(disk, "run", *TRIALS))
    assert status == 0, printed
    shutil.rmtree(folder / "best")
    filler = fill(disk, 2**20)  # for what else is written; a model takes more
    status, printed = run(["--resume", str(folder)])
    return _resume("at the export", folder, filler, status, printed)


def _resume(name: str, folder: Path, filler: Path, status: int, printed: str) -> Row:
    said = [line for line in printed.splitlines() if FULL in line]
    partial = [path.name for path in folder.rglob("*.new")]
    failed = [e for e in events(folder) if isinstance(e, TrialEnded) and e.state == "failed"]
    filler.unlink()
    again, then = run(["--resume", str(folder)])
    states = sorted(row["state"] for row in leaderboard(folder)) if again == 0 else []
    found = (
        f"exit {status}, {len(said)} sentence{'s' * (len(said) != 1)} ({said[:1]}), partial files: "
        f"{', '.join(partial) or 'none'}, {len(failed)} failed trials; resumed: exit {again}, "
        f"{', '.join(states)}, best/ {'there' if (folder / 'best').exists() else 'missing'}"
    )
    is_sound = (
        status == 1
        and len(said) >= 1
        and not partial
        and not failed
        and "Traceback" not in printed + then
        and again == 0
        and set(states) <= {"finished", "stopped", "untouched"}
        and len(states) == 4
        and (folder / "best").exists()
    )
    text = found if is_sound else f"{found}\n{printed[-2500:]}\n--- resumed\n{then[-2500:]}"
    return Row(f"disk full {name}", text, is_sound)


def rows(output: Path, count: int) -> Iterator[Row]:
    """A full disk at each of these, once."""
    elsewhere = f"search.checkpoints=fsspec+file://{output}/bucket"
    cases = (
        lambda disk: at_work(disk, "at a checkpoint", 24_000),
        lambda disk: at_work(disk, "at the journal", 0, "--set", elsewhere),
        at_export,
    )
    for number, case in enumerate(cases):
        try:
            with small_disk(output / f"disk-{number}") as disk:
                row = case(disk)
        except PermissionError as error:
            yield Row("disk full", f"not tried: {error}", True)
            return
        yield row
