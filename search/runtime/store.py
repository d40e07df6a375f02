"""Tensors on disk, found by what they were computed from; shared by all lanes of a machine."""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os.path import expanduser
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from filelock import FileLock, Timeout
from torch import Tensor

SUFFIX = ".arrow"
# Of the files of a key: nothing else in a folder is a store's to remove.
FILES = "??/" + 64 * "?"
FOLDER_VARIABLE = "ISOGLOSS_CACHE"
# The system's clock for the times of files lags behind by some milliseconds.
CLOCK_LAG = 1.0


def default_folder() -> Path:
    """Where stores are kept: as the environment says, or under the user's cache folder."""
    named = os.environ.get(FOLDER_VARIABLE)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else home / "isogloss"


def store_folder(named: str | None) -> Path:
    """Find where a search stores what it computes: the folder named, or the default one."""
    return Path(expanduser(named)) if named else default_folder()


def open_store(folder: str | None, max_gb: float, since: float | None = None) -> Store | None:
    """Open the store of a search; None where nothing may be stored or the folder is unwritable.

    Args:
        folder: None for the default one.
        max_gb: its size, at most; 0 for no store.
        since: when the search began, as for `Store`.
    """
    if not max_gb:
        return None
    place = store_folder(folder)
    try:
        store = Store(place, max_gb * 1e9, since)
        with TemporaryFile(dir=place):
            return store
    except OSError:
        return None


@dataclass(frozen=True)
class Entry:
    """One file of a store.

    Attributes:
        used: when it was last read or written, in seconds since 1970.
        what: what it holds, in words.
    """

    file: Path
    size: int
    used: float
    what: str


class Store:
    """A folder of files, each a few tensors under a key, of a limited size in all.

    A key is 64 hexadecimal digits. Files appear whole or not at all, and are checked as they are
    opened; a damaged one is as good as none. Where the size would grow past the limit, those that
    were used longest ago go, but none that was used since the search began: trials pass over the
    same files again and again, and where these are more than the limit allows, each would go
    shortly before it is asked for. What finds no room is not stored.

    Args:
        folder: made where it does not exist.
        most: bytes.
        since: when the search began, in seconds since 1970; now by default.
    """

    def __init__(self, folder: Path, most: float, since: float | None = None) -> None:
        self.folder = folder
        self._most = most
        self._since = (time.time() if since is None else since) - CLOCK_LAG
        folder.mkdir(parents=True, exist_ok=True)

    def load(self, key: str) -> dict[str, Tensor] | None:
        """The tensors under a key, mapped into memory; None where there are none."""
        file = self._file(key)
        try:
            tensors = _read(file)
        except Exception:  # a damaged file may fail in any way; it is written anew
            return None
        with suppress(OSError):  # deleted meanwhile, or not owned by this user
            os.utime(file)
        return tensors

    def build(
        self, key: str, what: str, compute: Callable[[], Mapping[str, Tensor]], wait: bool
    ) -> dict[str, Tensor] | None:
        """Read the tensors under a key, or compute and store them.

        Args:
            what: what they are, in words.
            wait: for whoever computes them now, if anybody does.

        Returns:
            None where another process computes them and ``wait`` is false. Where they cannot be
            stored, they are in memory only.
        """
        with self.held(key, wait) as held:
            if not held:
                return None
            there = self.load(key)
            if there is not None:
                return there
            made = {name: tensor.detach().cpu() for name, tensor in compute().items()}
            return self.keep(key, what, made) or made

    def fits(self, size: float) -> bool:
        """Whether there is room for so many bytes more, or would be once older files have gone."""
        files = self._files()
        old = sum(freed for used, freed, _ in files if used < self._since)
        total = sum(freed for _, freed, _ in files)
        free = shutil.disk_usage(self.folder).free
        return size <= free and size + total - old <= self._most

    def keep(self, key: str, what: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Store tensors and map them into memory; None where they cannot be stored.

        For whoever holds the key, or one that stands for it.
        """
        given = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
        file = self._file(key)
        fresh = file.with_suffix(".new")
        with suppress(OSError):  # the disk is full, say
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                _write(fresh, given, what)
                size = fresh.stat().st_size
                with FileLock(self.folder / "room.lock"):
                    if self._make_room(size):
                        fresh.replace(file)
            finally:
                fresh.unlink(missing_ok=True)
        return self.load(key)

    @contextmanager
    def held(self, key: str, wait: bool) -> Iterator[bool]:
        """Be the only one, of all processes, that holds a key.

        Args:
            wait: for whoever holds it.

        Yields:
            Whether it is held now.
        """
        # The lock is the system's own: it goes with the process that holds it.
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file.with_suffix(".lock"))
        try:
            lock.acquire(blocking=wait)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def entries(self) -> list[Entry]:
        """What there is, longest unused first."""
        return [Entry(file, size, used, _what(file)) for used, size, file in self._files()]

    def clear(self, unused_since: float | None = None) -> list[Entry]:
        """Remove everything, or what was not used since a time; what was removed."""
        gone = [e for e in self.entries() if unused_since is None or e.used < unused_since]
        for entry in gone:
            entry.file.unlink(missing_ok=True)
        for lock in self.folder.glob(f"{FILES}.lock"):
            if lock.with_suffix(SUFFIX).exists():
                continue
            with self.held(lock.stem, wait=False) as held:
                if held:  # whoever has opened it meanwhile sees that it is gone, and makes another
                    lock.with_suffix(".new").unlink(missing_ok=True)
                    lock.unlink(missing_ok=True)
        return gone

    def _make_room(self, size: int) -> bool:
        """Remove old files until there is room; whether there is."""
        files = self._files()
        excess = size + sum(freed for _, freed, _ in files) - self._most
        old = [(freed, file) for used, freed, file in files if used < self._since]
        if excess > sum(freed for freed, _ in old):
            return False
        for freed, file in old:
            if excess <= 0:
                break
            file.unlink(missing_ok=True)  # whoever has it mapped keeps it until they let go
            excess -= freed
        return True

    def _files(self) -> list[tuple[float, int, Path]]:
        """When each was used, its size and its path, longest unused first."""
        found = []
        for file in self.folder.glob(f"{FILES}{SUFFIX}"):
            with suppress(FileNotFoundError):
                stat = file.stat()
                found.append((stat.st_mtime, stat.st_size, file))
        return sorted(found)

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{SUFFIX}"


def _write(file: Path, tensors: Mapping[str, Tensor], what: str) -> None:
    columns, about = [], {}
    for name, tensor in tensors.items():
        flat = tensor.contiguous().flatten()
        data = memoryview(flat.view(torch.uint8).numpy().data if len(flat) else b"")
        # Not `pa.array([data])`, which copies.
        buffers = [None, pa.array([0, len(data)], pa.int64()).buffers()[1], pa.py_buffer(data)]
        columns.append(pa.Array.from_buffers(pa.large_binary(), 1, buffers))
        about[name] = {
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
            "crc32": zlib.crc32(data),
        }
    meta = {"tensors": json.dumps(about), "what": what}
    fields = [pa.field(name, pa.large_binary()) for name in tensors]
    batch = pa.record_batch(columns, schema=pa.schema(fields, metadata=meta))
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _open(file: Path) -> pa.RecordBatchFileReader:
    return pa.ipc.open_file(pa.memory_map(str(file)))


def _what(file: Path) -> str:
    try:
        return str(_open(file).schema.metadata[b"what"].decode())
    except Exception:  # as in `load`
        return "damaged"


def _read(file: Path) -> dict[str, Tensor]:
    """Map a file into memory.

    Raises:
        Exception: it is not there, or not what was written.
    """
    reader = _open(file)
    batch = reader.get_batch(0)
    batch.validate(full=True)
    tensors = {}
    for name, about in json.loads(reader.schema.metadata[b"tensors"]).items():
        # Not `column[0].as_buffer()`, which copies.
        column = batch.column(name)
        data = column.buffers()[2].slice(0, pc.binary_length(column)[0].as_py())
        if zlib.crc32(data) != about["crc32"]:
            raise ValueError(f"{file} is damaged: {name}")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable.*")  # and nobody writes
            dtype = getattr(torch, about["dtype"])
            flat = torch.from_numpy(np.frombuffer(data, np.uint8)).view(dtype)
        tensors[name] = flat.view(about["shape"])
    return tensors
