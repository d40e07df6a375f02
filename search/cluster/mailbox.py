"""The mailbox of a lane, where the lane puts trials and its workers put results."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Literal

from search.cluster.incoming import Incoming
from search.events.replies import (
    EpochReply,
    LaneImpossible,
    LaneLost,
    Reply,
    ScoredReply,
    StorageLost,
    TrialFailed,
    TrialSpec,
)
from search.runtime.checkpoints import Checkpoints
from search.runtime.progress import Progress, write_progress

# A trial at which this many workers crashed is marked failed, and a lane whose workers crashed so
# often in a row before they took a trial is lost.
MAX_ATTEMPTS = 3

# What a worker is to do. To train: the count of trials in the mailbox up to this one; the trial.
Order = tuple[int, TrialSpec] | Literal["wait", "leave"]


class Mailbox:
    """The mailbox of one lane.

    It holds one trial at a time. The workers train an epoch, report, and block until the lane asks
    for the next result, so that a stopped trial trains not a step more.

    Args:
        checkpoints: of the run.
        progress: folder for files that say how far trials have come; None for no such files.
    """

    def __init__(self, checkpoints: Checkpoints, progress: str | None = None) -> None:
        self._incoming = Incoming(checkpoints)
        self._progress = progress and Path(progress)
        self._changed = asyncio.Condition()
        self._sequence = 0
        self._spec: TrialSpec | None = None
        self._running = False
        self._closed = False
        self._attempts = 0
        self._starts: Counter[int] = Counter()
        self._worker_error = ""
        self._continue_requested = False
        self._reported = 0  # epochs of the trial
        self._results: list[Reply] = []

    async def start(self, rank: int) -> bool:
        """Count the start of a worker.

        Returns:
            Whether to go on: not where workers of this rank have died, again and again, before
            they were ready to take a trial. The lane is lost then.
        """
        async with self._changed:
            self._starts[rank] += 1
            if self._starts[rank] <= MAX_ATTEMPTS:
                return True
            message = f"{MAX_ATTEMPTS} workers died before they took a trial, {self._reason()}"
            self._finish(LaneLost(message=message))
            return False

    async def assign(self, spec: TrialSpec) -> None:
        """Set the trial to train, in place of the one before."""
        async with self._changed:
            self._sequence += 1
            self._spec = spec
            self._running = True
            self._attempts = 0
            self._worker_error = ""
            self._continue_requested = False
            self._reported = 0
            self._results.clear()
            self._changed.notify_all()

    async def take(self, seconds: float | None = None) -> Order:
        """Wait for an unfinished trial.

        Args:
            seconds: for so long at most; None for as long as it takes.

        Returns:
            The trial; "wait" if none came in time; "leave" when the mailbox is closed.
        """
        async with self._changed:
            self._starts.clear()
            self._incoming.abandon()
            while True:
                waiting = self._changed.wait_for(lambda: self._running or self._closed)
                try:
                    await asyncio.wait_for(waiting, seconds)
                except TimeoutError:
                    return "wait"
                if self._closed:
                    return "leave"
                self._attempts += 1
                if self._attempts <= MAX_ATTEMPTS:
                    assert self._spec is not None, "a trial runs"
                    return self._sequence, self._spec
                message = f"{MAX_ATTEMPTS} workers died at it, {self._reason()}"
                self._finish(TrialFailed(message=message))

    async def report(
        self, sequence: int, result: EpochReply | ScoredReply | TrialFailed | StorageLost
    ) -> bool:
        """Report a result, and wait until the lane asks for the next one.

        A worker that resumes a trial reports the epoch of its checkpoint again; the lane gets an
        epoch once.

        Returns:
            Whether to continue this trial.
        """
        async with self._changed:
            if not self._current(sequence):
                return False
            if not isinstance(result, EpochReply) or result.last:
                self._finish(result)
                return False
            if result.done.epoch > self._reported:
                self._reported = result.done.epoch
                self._attempts = 1  # what dies now and then still gets on
                self._continue_requested = False
                self._results.append(result)
                self._changed.notify_all()
            await self._changed.wait_for(
                lambda: self._continue_requested or not self._current(sequence)
            )
            return self._current(sequence)

    async def write(self, trial: int, epoch: int, piece: bytes, repeat: int = 0) -> None:
        """Write a piece of a trial's checkpoint; an empty one ends it.

        Raises:
            OSError: it cannot be written. Nothing of it is left.
        """
        await asyncio.to_thread(self._incoming.add, trial, epoch, piece, repeat)

    async def next_result(self) -> Reply:
        """Let the trial continue, and wait for its next result."""
        async with self._changed:
            self._continue_requested = True
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._results)
            return self._results.pop(0)

    async def show(self, sequence: int, progress: Progress) -> None:
        """Let those who look see how far the trial has come within its epoch."""
        trial = self._spec.trial if self._spec is not None else None
        if self._progress and self._current(sequence) and trial is not None:
            write_progress(self._progress, trial, progress)

    async def replaced(self, sequence: int) -> None:
        """Wait until a trial is no longer the one to train."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._current(sequence))

    async def record_worker_error(self, message: str) -> None:
        """Record the error of a worker that is about to exit."""
        self._worker_error = message

    async def record_loss(self, message: str, machine: bool) -> int | None:
        """Record that a worker was lost.

        Args:
            machine: whether its machine was lost with it, which is no fault of the trial.

        Returns:
            The trial that was in training, if there was one.
        """
        self._worker_error = self._worker_error or message
        if machine:
            self._attempts = max(0, self._attempts - 1)
            self._starts.clear()
        return self._spec.trial if self._spec is not None and self._running else None

    async def abort(self, message: str, fatal: bool) -> None:
        """Tell the lane that it can train no more trials or, if fatal, that no lane can."""
        async with self._changed:
            kind = LaneImpossible if fatal else LaneLost
            self._finish(kind(message=message))

    async def close(self) -> None:
        """Tell the workers to exit."""
        async with self._changed:
            self._closed = True
            self._incoming.abandon()
            self._running = False
            self._results.append(TrialFailed(message="the lane was closed"))
            self._changed.notify_all()

    def _reason(self) -> str:
        return self._worker_error or "without an error message, as when memory runs out"

    def _current(self, sequence: int) -> bool:
        return sequence == self._sequence and self._running and not self._closed

    def _finish(self, result: Reply) -> None:
        self._running = False
        self._results.append(result)
        self._changed.notify_all()
