"""The mailboxes of all lanes: an actor where lanes put trials and their workers put results.

It lives on the node of the run folder, so that checkpoints reach that folder from any node without
a shared disk.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import ray

from search.events.replies import (
    EpochReply,
    LaneImpossible,
    LaneLost,
    Reply,
    ScoredReply,
    TrialFailed,
    TrialSpec,
)
from search.runtime.checkpoint_file import checkpoint_file, write_checkpoint
from search.runtime.progress import Progress, write_progress

# A trial at which this many workers crashed is marked failed, and a lane whose workers crashed so
# often in a row before they took a trial is lost.
MAX_ATTEMPTS = 3
# Messages of all lanes that may wait at a time: a worker's order and its end, a report, a result.
MOST_WAITING = 100_000

P = ParamSpec("P")
T = TypeVar("T")

# What a worker is to do. To train: the count of trials in its mailbox up to this one, the trial,
# and the checkpoint to resume from, if there is one.
Order = tuple[int, TrialSpec, bytes | None] | Literal["wait", "leave"]


class Mailbox:
    """The mailbox of one lane.

    It holds one trial at a time. The workers train an epoch, report, and block until the lane asks
    for the next result, so that a stopped trial trains not a step more.

    Args:
        folder: in which each trial has a folder for its checkpoint.
        progress: folder for files that say how far trials have come; None for no such files.
    """

    def __init__(self, folder: str, progress: str | None = None) -> None:
        self._folder = Path(folder)
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
                    checkpoint = await asyncio.to_thread(_read, self._checkpoint())
                    assert self._spec is not None, "a trial runs"
                    return self._sequence, self._spec, checkpoint
                message = f"{MAX_ATTEMPTS} workers died at it, {self._reason()}"
                self._finish(TrialFailed(message=message))

    async def report(
        self,
        sequence: int,
        result: EpochReply | ScoredReply | TrialFailed,
        checkpoint: bytes | None = None,
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
            file = self._checkpoint()
            if checkpoint is not None and file is not None and isinstance(result, EpochReply):
                try:
                    await asyncio.to_thread(write_checkpoint, file, checkpoint)
                except OSError as error:  # a full disk, say: without it, there is nothing to export
                    message = f"its checkpoint cannot be written to {file}: {error}"
                    self._finish(TrialFailed(message=message, epoch=result.done.epoch))
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

    def _checkpoint(self) -> Path | None:
        assert self._spec is not None, "a trial was assigned"
        if self._spec.trial is None:
            return None
        return checkpoint_file(self._folder, self._spec.trial, self._spec.repeat)


def _read(file: Path | None) -> bytes | None:
    return file.read_bytes() if file is not None and file.exists() else None


class Mailboxes:
    """The mailboxes of a search, by lane; `MailboxActor` is the same as a Ray actor.

    Args:
        folder: in which each trial has a folder for its checkpoint.
        progress: folder for files that say how far trials have come; None for no such files.
    """

    def __init__(self, folder: str, progress: str | None = None) -> None:
        self._folder = folder
        self._progress = progress
        self._boxes: dict[int, Mailbox] = {}
        self._losses: list[str] = []

    async def open(self) -> int:
        """Open a mailbox; its lane has the number that is returned, from 1."""
        lane = len(self._boxes) + 1
        self._boxes[lane] = Mailbox(self._folder, self._progress)
        return lane

    async def call(self, lane: int, method: str, *args: object) -> object:
        """Call a method of a lane's mailbox."""
        return await getattr(self._boxes[lane], method)(*args)

    async def lose(self, lane: int, message: str, machine: bool) -> None:
        """Record that a worker of a lane was lost; arguments as of `Mailbox.record_loss`."""
        trial = await self._boxes[lane].record_loss(message, machine)
        where = "" if trial is None else f" of trial {trial}"
        self._losses.append(f"lane {lane}: a worker{where} was lost: {message}")

    async def losses(self) -> list[str]:
        """What was lost since this was asked before."""
        losses, self._losses = self._losses, []
        return losses

    def __repr__(self) -> str:
        return "mailboxes of all lanes"  # shown by the dashboard


MailboxActor = ray.remote(num_cpus=0, max_concurrency=MOST_WAITING)(Mailboxes)


@dataclass(frozen=True)
class LaneMailbox:
    """The mailbox of one lane, from any process.

    Attributes:
        actor: a `MailboxActor`.
        lane: number of the lane.
    """

    actor: Any
    lane: int

    def post(
        self,
        method: Callable[Concatenate[Mailbox, P], Coroutine[Any, Any, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Any:
        """Call a method of `Mailbox` and return the reference of what it will return."""
        assert not kwargs, "they are passed by position"
        return self.actor.call.remote(self.lane, method.__name__, *args)

    def ask(
        self,
        method: Callable[Concatenate[Mailbox, P], Coroutine[Any, Any, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a method of `Mailbox` and wait for what it returns.

        Raises:
            RayActorError: the search is over, or its mailboxes are gone.
        """
        answer: T = ray.get(self.post(method, *args, **kwargs))
        return answer
