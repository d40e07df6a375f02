"""The checkpoints of a run's trials: in its folder, or in a bucket. Nothing imports torch."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pyarrow import NativeFile
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem

from search.runtime.sealing import PIECE, DamagedError, check, keep_only

# What is left of a checkpoint when its trial has ended: the weights and the epoch.
_LASTING = ("weights/", "meta")
_NAME = re.compile(r"epoch-(\d+)(-[0-9a-f]{8})?\.safetensors")
_RUN = re.compile(r"(\d+)(?:-seed(\d+))?")
_PARTIAL = ".new"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_lasting(name: str) -> bool:
    """Whether a tensor of a checkpoint is kept when its trial has ended."""
    return name.startswith(_LASTING)


def is_uri(location: str) -> bool:
    """Whether a location is that of a bucket or the like, not a path."""
    return bool(_SCHEME.match(location))


class Checkpoints:
    """Files ``<trial>/epoch-<n>.safetensors`` of a folder or a bucket.

    Those of a trial's run with another seed, its ``repeat``, lie in ``<trial>-seed<repeat>``.

    A file has its name only when all of it is written, and older ones of the trial go only then, so
    that a trial that has a checkpoint never lacks one. (In a bucket an upload that was cut short
    may have its name; its checksum tells.)

    Args:
        location: a path, or a URI of Arrow's file systems: ``s3://``, ``gs://``, ``abfs://``,
            ``hdfs://``.

    Raises:
        ValueError: Arrow knows no such file system.
    """

    def __init__(self, location: str | Path) -> None:
        self.location = str(location)
        self._files: FileSystem
        if is_uri(self.location):
            self._files, self._root = FileSystem.from_uri(self.location)
        else:
            self._files, self._root = LocalFileSystem(), self.location
        self._renames = isinstance(self._files, LocalFileSystem)

    def make(self) -> None:
        """Make the folder that all of them are in.

        Raises:
            OSError: it cannot be made.
        """
        self._files.create_dir(self._root)

    def write(self, trial: int, epoch: int, pieces: Iterable[memoryview], repeat: int = 0) -> None:
        """Write a checkpoint in place of those before, which stay where writing fails.

        Raises:
            OSError: it cannot be written. Nothing of it is left.
        """
        with self.writing(trial, epoch, repeat) as stream:
            for piece in pieces:
                stream.write(piece)

    @contextmanager
    def writing(self, trial: int, epoch: int, repeat: int = 0) -> Iterator[NativeFile]:
        """Write a checkpoint to a stream; it counts when this ends without an error.

        Raises:
            OSError: it cannot be written. Nothing of it is left.
        """
        folder = self._folder(trial, repeat)
        # A worker that was given up may still write, beside the one in its place.
        unique = uuid.uuid4().hex[:8]
        file = f"{folder}/epoch-{epoch}{'' if self._renames else f'-{unique}'}.safetensors"
        fresh = f"{file}.{unique}{_PARTIAL}" if self._renames else file
        try:
            self._files.create_dir(folder)
            with self._files.open_output_stream(fresh) as stream:
                yield stream
            if fresh != file:
                self._files.move(fresh, file)
        except BaseException as error:
            with suppress(OSError):  # a full disk would stay full
                self._files.delete_file(fresh)
            if isinstance(error, OSError) and error.errno:
                raise OSError(error.errno, os.strerror(error.errno), file) from error
            raise
        for other, path in self._of(trial, repeat):
            if other <= epoch and path != file:
                with suppress(FileNotFoundError):
                    self._files.delete_file(path)

    def newest(self, trial: int, repeat: int = 0) -> dict[str, str] | None:
        """Facts of a trial's newest checkpoint that is sound; None where it has none.

        Raises:
            DamagedError: it has some, but none is sound.
            OSError: they cannot be read.
        """
        found = self._newest(trial, repeat)
        return None if found is None else found[2]

    def _newest(self, trial: int, repeat: int) -> tuple[int, str, dict[str, str]] | None:
        """Epoch, file and facts of that."""
        fault: DamagedError | None = None
        for epoch, path in self._of(trial, repeat):
            try:
                with self._files.open_input_stream(path) as stream:
                    return epoch, path, check(stream)
            except DamagedError as error:
                fault = fault or error
        if fault is not None:
            raise fault
        return None

    @contextmanager
    def opened(self, trial: int, repeat: int = 0) -> Iterator[Path | None]:
        """A trial's newest sound checkpoint, as a file of this machine; None where it has none.

        Raises:
            DamagedError: it has some, but none is sound.
            OSError: they cannot be read.
        """
        found = self._newest(trial, repeat)
        if found is None:
            yield None
        elif self._renames:
            yield Path(found[1])
        else:
            with TemporaryDirectory(prefix="isogloss-") as folder:
                copy = Path(folder) / "checkpoint.safetensors"
                with self._files.open_input_stream(found[1]) as stream, copy.open("wb") as file:
                    shutil.copyfileobj(stream, file, PIECE)
                yield copy

    def shrink(self, trial: int, repeat: int = 0) -> None:
        """Drop what only going on with a trial needs: the optimizer's moments, the random state.

        Raises:
            DamagedError: no checkpoint of it is sound.
            OSError: one cannot be read or written.
        """
        found = self._newest(trial, repeat)
        if found is None:
            return
        epoch, file, _ = found
        with self._files.open_input_stream(file) as stream:
            self.write(trial, epoch, keep_only(stream, is_lasting), repeat)

    def remove(self, trial: int, repeat: int = 0) -> None:
        """Remove all that is kept of a trial."""
        with suppress(FileNotFoundError):
            self._files.delete_dir(self._folder(trial, repeat))

    def _folder(self, trial: int, repeat: int) -> str:
        return f"{self._root}/{trial}-seed{repeat}" if repeat else f"{self._root}/{trial}"

    def _of(self, trial: int, repeat: int) -> list[tuple[int, str]]:
        """Epochs and files of a trial's checkpoints, the newest first."""
        found = [(_NAME.fullmatch(info.base_name), info.path) for info in self._list(trial, repeat)]
        return sorted(((int(m[1]), path) for m, path in found if m), reverse=True)

    def _list(self, trial: int, repeat: int) -> list[FileInfo]:
        folder = FileSelector(self._folder(trial, repeat), allow_not_found=True)
        listed: list[FileInfo] = self._files.get_file_info(folder)
        return listed

    def runs(self) -> list[tuple[int, int]]:
        """Trial and repeat of each run that something is kept of, in order."""
        selector = FileSelector(self._root, allow_not_found=True)
        names = (info.base_name for info in self._files.get_file_info(selector))
        return sorted((int(m[1]), int(m[2] or 0)) for m in map(_RUN.fullmatch, names) if m)

    def remove_partial(self, trial: int, repeat: int = 0) -> None:
        """Remove what a writer that was killed has left of a file."""
        for info in self._list(trial, repeat):
            if info.base_name.endswith(_PARTIAL):
                self._files.delete_file(info.path)

    def size(self) -> int:
        """Bytes of all checkpoints."""
        selector = FileSelector(self._root, recursive=True, allow_not_found=True)
        found = self._files.get_file_info(selector)
        return sum(info.size for info in found if info.type == FileType.File)
