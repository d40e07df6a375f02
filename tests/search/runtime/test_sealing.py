"""Sealed safetensors: every damaged byte is noticed, and the file stays what the library reads."""

from __future__ import annotations

import io
import json
from functools import partial

import pytest
import torch
from safetensors.torch import load, save

from search.runtime.sealing import PIECE, DamagedError, Part, check, keep_only, seal

TENSORS = {
    "weights/a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "weights/b": torch.tensor([1, 2, 3], dtype=torch.int64),
    "optimizer/a/exp_avg": torch.ones(5, dtype=torch.float16),
    "random/0": torch.zeros(3, dtype=torch.uint8),
    "meta": torch.tensor([7], dtype=torch.uint8),
}
NAMES = {
    torch.float32: "F32", torch.int64: "I64", torch.float16: "F16", torch.uint8: "U8"
}  # fmt: skip
FACTS = {"report": json.dumps({"epoch": 3, "text": '"xxh3_128":{', "name": "Übung"})}


def part(name: str, value: torch.Tensor) -> Part:
    data = value.numpy().tobytes()
    return Part(name, NAMES[value.dtype], value.shape, len(data), lambda: data)


@pytest.fixture
def sealed() -> bytes:
    return b"".join(seal([part(*item) for item in TENSORS.items()], FACTS))


def test_what_was_sealed_is_read_as_it_was(sealed: bytes) -> None:
    assert check(io.BytesIO(sealed)) == FACTS
    read = load(sealed)
    assert read.keys() == TENSORS.keys() | {"xxh3_128"}
    for name, value in TENSORS.items():
        assert torch.equal(read[name], value)


def test_every_flipped_bit_of_every_byte_is_noticed(sealed: bytes) -> None:
    for at in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(DamagedError):
            check(io.BytesIO(damaged))
        with pytest.raises(DamagedError):
            list(keep_only(io.BytesIO(damaged), lambda name: name.startswith("weights")))


def test_every_cut_and_every_addition_is_noticed(sealed: bytes) -> None:
    for data in [*(sealed[:end] for end in range(len(sealed))), sealed + b"\0"]:
        with pytest.raises(DamagedError):
            check(io.BytesIO(data))
        with pytest.raises(DamagedError):
            list(keep_only(io.BytesIO(data), lambda name: True))


@pytest.mark.parametrize("data", [b"", b"no safetensors", b"\xff" * 64, save(TENSORS)])
def test_what_was_never_sealed_is_damaged(data: bytes) -> None:
    with pytest.raises(DamagedError):
        check(io.BytesIO(data))


def test_only_the_wanted_tensors_are_kept_and_sealed_again(sealed: bytes) -> None:
    kept = b"".join(keep_only(io.BytesIO(sealed), lambda name: not name.startswith("weights/a")))
    assert check(io.BytesIO(kept)) == FACTS
    read = load(kept)
    assert read.keys() == TENSORS.keys() - {"weights/a"} | {"xxh3_128"}
    for name, value in TENSORS.items():
        assert name == "weights/a" or torch.equal(read[name], value)
    nothing = b"".join(keep_only(io.BytesIO(sealed), lambda name: False))
    assert check(io.BytesIO(nothing)) == FACTS
    everything = b"".join(keep_only(io.BytesIO(sealed), lambda name: True))
    assert everything == sealed


def test_a_large_tensor_is_given_in_pieces_and_only_when_it_is_its_turn() -> None:
    size = 2 * PIECE + 5
    asked = []

    def read(name: str) -> bytes:
        asked.append(name)
        return bytes(size)

    parts = [Part(name, "U8", [size], size, partial(read, name)) for name in "ab"]
    pieces = seal(parts, {})
    next(pieces)
    assert asked == []
    assert [len(next(pieces)) for _ in range(3)] == [PIECE, PIECE, 5]
    assert asked == ["a"]
    assert [len(piece) for piece in pieces] == [PIECE, PIECE, 5, 16]
