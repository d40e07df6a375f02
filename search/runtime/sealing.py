"""Checksums of safetensors files, and what else stands in their headers. Nothing imports torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

# A safetensors file: the length of the header (8 bytes, little-endian), the header as JSON, the
# tensors' bytes. ``__metadata__`` in the header holds text of any kind.
_LENGTH = 8
_METADATA = "__metadata__"
_UNSET = b'"sha256":"' + b"0" * 64 + b'"'


class DamagedError(ValueError):
    """The bytes are not those that were sealed."""


def seal(data: bytes, facts: Mapping[str, str]) -> bytes:
    """Put facts, and a SHA-256 of all bytes, into the header of a safetensors file.

    The checksum is that of the file in which its own digits are zeros.
    """
    header, tensors = _split(data)
    return _join(header | {_METADATA: dict(facts)}, tensors)


def check(data: bytes) -> dict[str, str]:
    """Hold sealed bytes against their checksum.

    Returns:
        The facts in the header.

    Raises:
        DamagedError: they are not those that were sealed.
    """
    try:
        header, _ = _split(data)
        facts = dict(header[_METADATA])
        digest = facts.pop("sha256")
        start = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
        written = f'"sha256":"{digest}"'.encode()
        at = data.index(written, _LENGTH, start)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedError("it has no header with a checksum") from error
    sha = hashlib.sha256(data[:at] + _UNSET)
    sha.update(memoryview(data)[at + len(written) :])
    if sha.hexdigest() != digest:
        raise DamagedError("its bytes are not those of its checksum")
    return facts


def keep_only(data: bytes, wanted: Callable[[str], bool]) -> bytes:
    """Leave out the tensors whose names are not wanted, and seal what is left."""
    header, tensors = _split(data)
    facts = header.pop(_METADATA, {})
    parts = []
    kept: dict[str, object] = {}
    size = 0
    for name, entry in header.items():
        if wanted(name):
            start, end = entry["data_offsets"]
            parts.append(tensors[start:end])
            kept[name] = entry | {"data_offsets": [size, size + end - start]}
            size += end - start
    return _join(kept | {_METADATA: facts}, b"".join(parts))


def _split(data: bytes) -> tuple[dict[str, Any], memoryview]:
    end = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    header = json.loads(data[_LENGTH:end])
    if not isinstance(header, dict):
        raise DamagedError("its header is no mapping")
    return header, memoryview(data)[end:]


def _join(header: Mapping[str, Any], tensors: bytes | memoryview) -> bytes:
    # The checksum stands first: facts may hold any text, its like among them.
    facts = {name: value for name, value in header[_METADATA].items() if name != "sha256"}
    ordered = {_METADATA: {"sha256": "0" * 64} | facts}
    ordered |= {name: entry for name, entry in header.items() if name != _METADATA}
    text = json.dumps(ordered, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)  # tensors are aligned
    sealed = len(text).to_bytes(_LENGTH, "little") + text
    digest = hashlib.sha256(sealed)
    digest.update(tensors)
    return b"".join(
        [sealed.replace(_UNSET, b'"sha256":"' + digest.hexdigest().encode() + b'"', 1), tensors]
    )
