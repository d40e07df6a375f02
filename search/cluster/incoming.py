"""Checkpoints that come to the node of the run folder piece by piece."""

from __future__ import annotations

from contextlib import ExitStack, suppress

from pyarrow import NativeFile

from search.runtime.checkpoints import Checkpoints


class AbandonedError(Exception):
    """A checkpoint that is being written will never be whole."""


class Incoming:
    """Writes a checkpoint that comes piece by piece.

    One that stops coming is to be abandoned; another one does so too.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._writing = ExitStack()
        self._of: tuple[int, int, int] | None = None
        self._file: NativeFile

    def add(self, trial: int, epoch: int, piece: bytes, repeat: int = 0) -> None:
        """Write the next piece of the checkpoint of a trial and epoch; an empty one ends it.

        Raises:
            OSError: it cannot be written. Nothing of it is left.
        """
        if self._of != (trial, epoch, repeat):
            self.abandon()
            writing = self._checkpoints.writing(trial, epoch, repeat)
            self._file = self._writing.enter_context(writing)
            self._of = trial, epoch, repeat
        if not piece:
            self._of = None
            self._writing.close()
            return
        try:
            self._file.write(piece)
        except OSError as error:
            self._of = None
            self._writing.__exit__(type(error), error, error.__traceback__)
            raise

    def abandon(self) -> None:
        """Remove what is not whole."""
        self._of = None
        with suppress(AbandonedError), self._writing:
            raise AbandonedError
