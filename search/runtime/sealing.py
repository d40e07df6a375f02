"""Safetensors files with a checksum, written and read piece by piece. Nothing imports torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import xxhash

# A safetensors file: the length of the header (8 bytes, little-endian), the header as JSON, the
# tensors' bytes. ``__metadata__`` in the header holds text of any kind.
_LENGTH = 8
_METADATA = "__metadata__"
# The last tensor is the XXH3-128 of all bytes before it: so a file is sealed as it is written, also
# where nothing that has been written can be changed, as in a bucket. It finds what went wrong on a
# disk or on the way to it, at several GB/s; against forgery it is no protection.
_CHECKSUM = "xxh3_128"
_DIGEST = 16
PIECE = 1 << 25  # bytes held at a time, at most


class DamagedError(ValueError):
    """The bytes are not those that were sealed."""


class Readable(Protocol):
    """A file that is read from its start to its end."""

    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(frozen=True)
class Part:
    """A tensor to be written.

    Attributes:
        dtype: as safetensors names it.
        size: bytes.
        read: gives the bytes, when it is the tensor's turn.
    """

    name: str
    dtype: str
    shape: Sequence[int]
    size: int
    read: Callable[[], bytes | memoryview]


def seal(parts: Iterable[Part], facts: Mapping[str, str]) -> Iterator[memoryview]:
    """The pieces of a safetensors file of some tensors, with facts in its header and a checksum.

    No more than one tensor is held at a time.
    """
    # The widest numbers first, so that all are aligned.
    ordered = sorted(parts, key=lambda part: -int(part.dtype.lstrip("BFIUOL") or 8))
    header: dict[str, object] = {_METADATA: dict(facts)}
    end = 0
    sizes = [(part.name, part.dtype, part.shape, part.size) for part in ordered]
    for name, dtype, shape, size in [*sizes, (_CHECKSUM, "U8", [_DIGEST], _DIGEST)]:
        offsets = [end, end + size]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)  # tensors are aligned
    first = len(text).to_bytes(_LENGTH, "little") + text
    hashed = xxhash.xxh3_128()
    for read in (lambda: first, *(part.read for part in ordered)):
        data = memoryview(read())
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            hashed.update(piece)
            yield piece
    yield memoryview(hashed.digest())


def check(file: Readable) -> dict[str, str]:
    """Hold a sealed file against its checksum.

    Returns:
        The facts in the header.

    Raises:
        DamagedError: it is not what was sealed.
    """
    reading = _Reading(file)
    facts = reading.facts
    reading.finish()
    return facts


def keep_only(file: Readable, wanted: Callable[[str], bool]) -> Iterator[memoryview]:
    """The pieces of a sealed file without the tensors whose names are not wanted, sealed anew.

    Raises:
        DamagedError: the file is not what was sealed; where the damage is in what the header does
            not tell, after all pieces but the last have been given.
    """
    reading = _Reading(file)
    last = None
    try:
        kept = [
            Part(
                name, entry["dtype"], entry["shape"], end - start, partial(reading.part, start, end)
            )
            for name, entry in reading.entries.items()
            if wanted(name)
            for start, end in [entry["data_offsets"]]
        ]
        for piece in seal(kept, reading.facts):
            if last is not None:
                yield last
            last = piece
    except DamagedError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedError("its header is not that of a sealed file") from error
    reading.finish()
    assert last is not None, "a file has a header"
    yield last


class _Reading:
    """A sealed file that is read once, from its start to its end.

    Raises:
        DamagedError: it has no header of a sealed file.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._hashed = xxhash.xxh3_128()
        self._at = 0
        try:
            size = int.from_bytes(self._next(_LENGTH), "little")
            header: dict[str, Any] = json.loads(self._next(min(size, 1 << 30)))
            self.facts: dict[str, str] = dict(header.pop(_METADATA))
            start, _ = header.pop(_CHECKSUM)["data_offsets"]
            self._left = int(start)
            self.entries = {n: e for n, e in header.items() if e["data_offsets"][1] <= start}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise DamagedError("it has no header with a checksum") from error
        self._at = 0

    def _next(self, size: int) -> bytes:
        """The next bytes; fewer at the end of the file."""
        data = self._file.read(size)
        self._hashed.update(data)
        self._at += len(data)
        return data

    def part(self, start: int, end: int) -> bytes:
        """A tensor's bytes; tensors must be asked for in their order.

        Raises:
            DamagedError: the file ends before.
        """
        self._skip(start)
        data = self._next(end - start)
        if self._at != end:
            raise DamagedError("it ends too early")
        return data

    def _skip(self, to: int) -> None:
        while self._at < to:
            if not self._next(min(PIECE, to - self._at)):
                raise DamagedError("it ends too early")

    def finish(self) -> None:
        """Read the rest, and compare the checksum.

        Raises:
            DamagedError: it is another one.
        """
        self._skip(self._left)
        digest = self._hashed.digest()
        if self._file.read(_DIGEST) != digest or self._file.read(1):
            raise DamagedError("its bytes are not those of its checksum")
