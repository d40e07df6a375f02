"""The desk of a lane: a small actor where the lane puts trials and its workers put results.

It lives on the node of the run folder, so that checkpoints reach that folder from any node without
a shared disk.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import ray

from search.replies import EpochReply, LaneImpossible, LaneLost, Reply, TrialFailed, TrialSpec

# A trial that has cost the lane so many workers is at fault itself.
LARGEST_TAKES = 3


class DeskState:
    """The desk itself; `Desk` is the same as a Ray actor.

    One trial lies on it at a time. Its workers train an epoch, report, and wait there until the
    lane asks for the next result: a trial that is stopped costs not a step more.

    Args:
        folder: a folder a trial is made in it.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._news = asyncio.Condition()
        self._sequence = 0
        self._order: TrialSpec | None = None
        self._running = False
        self._closed = False
        self._takes = 0
        self._complaint = ""
        self._wanted = False
        self._results: list[Reply] = []

    async def assign(self, order: TrialSpec) -> None:
        """Put a trial on the desk, in place of the one before."""
        async with self._news:
            self._sequence += 1
            self._order = order
            self._running = True
            self._takes = 0
            self._complaint = ""
            self._wanted = False
            self._results.clear()
            self._news.notify_all()

    async def take(self) -> tuple[int, TrialSpec, bytes | None] | None:
        """Wait for a trial that nobody has finished.

        Returns:
            Its number on this desk, the order, and the checkpoint to go on from, if a worker was
            lost; None when the desk is closed.
        """
        async with self._news:
            while True:
                await self._news.wait_for(lambda: self._running or self._closed)
                if self._closed:
                    return None
                self._takes += 1
                if self._takes <= LARGEST_TAKES:
                    checkpoint = await asyncio.to_thread(_read, self._checkpoint())
                    assert self._order is not None, "a trial runs"
                    return self._sequence, self._order, checkpoint
                reason = self._complaint or "without a word, as when memory runs out"
                self._finish(TrialFailed(message=f"{LARGEST_TAKES} workers died of it, {reason}"))

    async def report(
        self, sequence: int, result: EpochReply | TrialFailed, checkpoint: bytes | None = None
    ) -> bool:
        """Hand in a result and wait until the next one is wanted.

        Returns:
            Whether to go on with this trial.
        """
        async with self._news:
            if not self._current(sequence):
                return False
            if checkpoint is not None:
                await asyncio.to_thread(_write, self._checkpoint(), checkpoint)
            if isinstance(result, TrialFailed) or result.last:
                self._finish(result)
                return False
            self._wanted = False
            self._results.append(result)
            self._news.notify_all()
            await self._news.wait_for(lambda: self._wanted or not self._current(sequence))
            return self._current(sequence)

    async def next_result(self) -> Reply:
        """Let the trial go on and wait for its next result."""
        async with self._news:
            self._wanted = True
            self._news.notify_all()
            await self._news.wait_for(lambda: self._results)
            return self._results.pop(0)

    async def replaced(self, sequence: int) -> None:
        """Wait until a trial is no longer the one to train."""
        async with self._news:
            await self._news.wait_for(lambda: not self._current(sequence))

    async def complain(self, message: str) -> None:
        """Say what ails a worker that is about to die of it."""
        self._complaint = message

    async def give_up(self, message: str, fatal: bool) -> None:
        """Say that this lane can train no more trials, or (fatal) that none ever could."""
        async with self._news:
            kind = LaneImpossible if fatal else LaneLost
            self._finish(kind(message=message))

    async def close(self) -> None:
        """Send the workers home."""
        async with self._news:
            self._closed = True
            self._running = False
            self._results.append(TrialFailed(message="the lane was closed"))
            self._news.notify_all()

    def _current(self, sequence: int) -> bool:
        return sequence == self._sequence and self._running and not self._closed

    def _finish(self, result: Reply) -> None:
        self._running = False
        self._results.append(result)
        self._news.notify_all()

    def _checkpoint(self) -> Path:
        assert self._order is not None, "a trial was assigned"
        return self._folder / str(self._order.trial) / "checkpoint.safetensors"


def _read(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_bytes(data)
    fresh.replace(file)


Desk = ray.remote(num_cpus=0)(DeskState)
