"""The mailboxes of all lanes: an actor on the node of the run folder.

Checkpoints reach that folder through it also from workers that share no disk with that node.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import ray

from search.cluster.mailbox import Mailbox
from search.runtime.checkpoints import Checkpoints
from search.runtime.sealing import PIECE

if TYPE_CHECKING:
    from ray.actor import ActorHandle

# Messages of all lanes that may wait at a time: a worker's order and its end, a report, a result.
MOST_WAITING = 100_000

P = ParamSpec("P")
T = TypeVar("T")


class Mailboxes:
    """The mailboxes of a search, by lane; `MailboxActor` is the same as a Ray actor.

    Args:
        location: of the checkpoints.
        progress: folder for files that say how far trials have come; None for no such files.
    """

    def __init__(self, location: str, progress: str | None = None) -> None:
        self._checkpoints = Checkpoints(location)
        self._progress = progress
        self._boxes: dict[int, Mailbox] = {}
        self._losses: list[str] = []

    async def open(self) -> int:
        """Open a mailbox; its lane has the number that is returned, from 1."""
        lane = len(self._boxes) + 1
        self._boxes[lane] = Mailbox(self._checkpoints, self._progress)
        return lane

    async def call(self, lane: int, method: str, *args: object) -> object:
        """Call a method of a lane's mailbox."""
        return await getattr(self._boxes[lane], method)(*args)

    async def read(self, trial: int, repeat: int = 0) -> AsyncIterator[bytes]:
        """The pieces of a trial's newest sound checkpoint; none where it has none.

        Raises:
            DamagedError: it has some, but none is sound.
            OSError: they cannot be read.
        """
        with self._checkpoints.opened(trial, repeat) as file:
            if file is None:
                return
            with file.open("rb") as opened:
                while piece := await asyncio.to_thread(opened.read, PIECE):
                    yield piece

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

    actor: ActorHandle
    lane: int

    def post(
        self,
        method: Callable[Concatenate[Mailbox, P], Coroutine[object, object, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> ray.ObjectRef:
        """Call a method of `Mailbox` and return the reference of what it will return."""
        assert not kwargs, "they are passed by position"
        return self.actor.call.remote(self.lane, method.__name__, *args)

    def ask(
        self,
        method: Callable[Concatenate[Mailbox, P], Coroutine[object, object, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a method of `Mailbox` and wait for what it returns.

        Raises:
            RayActorError: the search is over, or its mailboxes are gone.
        """
        answer: T = ray.get(self.post(method, *args, **kwargs))
        return answer

    def read_checkpoint(self, trial: int, repeat: int = 0) -> Iterator[bytes]:
        """Read a trial's checkpoint piece by piece, as `Mailboxes.read`."""
        streaming = self.actor.read.options(num_returns="streaming")
        for piece in streaming.remote(trial, repeat):
            yield ray.get(piece)
