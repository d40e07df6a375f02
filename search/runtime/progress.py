"""How far a process has come with what it is doing, told to whoever shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from pydantic import BaseModel, ConfigDict

SECONDS_BETWEEN = 0.5  # of what is told, at least: it is for people


class Progress(BaseModel):
    """How far one piece of work has come.

    Attributes:
        phase: what is done, in a few words.
        done, total: of its parts; a total of 0 is not known.
        unit: name of a part; empty where a share says more than a count.
    """

    model_config = ConfigDict(frozen=True)
    phase: str
    done: int = 0
    total: int = 0
    unit: str = ""

    def __str__(self) -> str:
        if not self.total:
            return self.phase
        if self.unit:
            return f"{self.phase} {self.unit} {self.done}/{self.total}"
        return f"{self.phase} {100 * self.done // self.total} %"


Sink = Callable[[Progress], None]
_SINK: ContextVar[Sink | None] = ContextVar("progress", default=None)


@contextmanager
def shown_by(sink: Sink) -> Iterator[None]:
    """Pass on what is told inside, but not more often than people read."""
    due = 0.0
    phase = ""

    def pass_on(progress: Progress) -> None:
        nonlocal due, phase
        now = time.monotonic()
        if now >= due or (not progress.total and progress.phase != phase):
            due, phase = now + SECONDS_BETWEEN, progress.phase
            sink(progress)

    token = _SINK.set(pass_on)
    try:
        yield
    finally:
        _SINK.reset(token)


def write_progress(folder: Path, trial: int, progress: Progress) -> None:
    """Leave word of a trial for `read_progress`; where that fails, there is none."""
    fresh = folder / f"{trial}.new"
    with suppress(OSError):
        fresh.write_text(progress.model_dump_json(), encoding="utf-8")
        fresh.replace(folder / str(trial))


def read_progress(folder: Path, trial: int) -> Progress | None:
    """Read how far a trial has come within its epoch; None where nothing is known."""
    try:
        return Progress.model_validate_json((folder / str(trial)).read_bytes())
    except (OSError, ValueError):
        return None


def tell(phase: str, done: int = 0, total: int = 0, unit: str = "") -> None:
    """Say how far the work has come; nothing happens where nobody shows it."""
    sink = _SINK.get()
    if sink is not None:
        sink(Progress(phase=phase, done=done, total=total, unit=unit))
