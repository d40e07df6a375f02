"""How workers reach the checkpoints of a run: directly, or through the mailbox of their lane."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from search.cluster.mailbox import Mailbox
from search.cluster.mailboxes import LaneMailbox
from search.runs.lock import read_holder
from search.runtime.checkpoints import Checkpoints, is_uri


@dataclass(frozen=True)
class CheckpointPlace:
    """Where the checkpoints of a run are.

    Attributes:
        location: a path or a URI, as of `Checkpoints`.
        folder: the run folder.
        holder: what stands in the run folder of who writes to it: a worker that reads the same
            there shares the disk.
    """

    location: str
    folder: str
    holder: str

    def is_shared(self) -> bool:
        """Whether this process can write there."""
        if is_uri(self.location):
            return True
        same = bool(self.holder) and read_holder(Path(self.folder)) == self.holder
        return same and os.access(self.folder, os.W_OK)


class Reached(Protocol):
    """The checkpoints of a run, as a worker sees them; as of `Checkpoints`."""

    def write(
        self, trial: int, epoch: int, pieces: Iterable[memoryview], repeat: int = 0
    ) -> None: ...

    def opened(self, trial: int, repeat: int = 0) -> AbstractContextManager[Path | None]: ...


def reach(place: CheckpointPlace, mailbox: LaneMailbox) -> Reached:
    """Find the shortest way to the checkpoints."""
    return Checkpoints(place.location) if place.is_shared() else ThroughMailbox(mailbox)


class ThroughMailbox:
    """Checkpoints on a disk of another node, where the mailbox of the lane is."""

    def __init__(self, mailbox: LaneMailbox) -> None:
        self._mailbox = mailbox

    def write(self, trial: int, epoch: int, pieces: Iterable[memoryview], repeat: int = 0) -> None:
        """As `Checkpoints.write`; a piece at a time is in Ray's object store."""
        for piece in pieces:
            self._mailbox.ask(Mailbox.write, trial, epoch, bytes(piece), repeat)
        self._mailbox.ask(Mailbox.write, trial, epoch, b"", repeat)

    @contextmanager
    def opened(self, trial: int, repeat: int = 0) -> Iterator[Path | None]:
        """As `Checkpoints.opened`."""
        with TemporaryDirectory(prefix="isogloss-") as folder:
            copy = Path(folder) / "checkpoint.safetensors"
            with copy.open("wb") as file:
                for piece in self._mailbox.read_checkpoint(trial, repeat):
                    file.write(piece)
            yield copy if copy.stat().st_size else None
