"""Sealed safetensors: every damaged byte is noticed, and the file stays what the library reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file, save

from search.runtime.checkpoint_file import shrink_checkpoint, write_checkpoint
from search.runtime.sealing import DamagedError, check, keep_only, seal

TENSORS = {
    "weights/a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "weights/b": torch.tensor([1, 2, 3], dtype=torch.int64),
    "optimizer/a/exp_avg": torch.ones(5, dtype=torch.float16),
    "random/0": torch.zeros(3, dtype=torch.uint8),
    "meta": torch.tensor([7], dtype=torch.uint8),
}
FACTS = {"report": json.dumps({"epoch": 3, "text": '"sha256":"' + "0" * 64 + '"', "name": "Übung"})}


@pytest.fixture
def sealed() -> bytes:
    return seal(save(TENSORS), FACTS)


def test_what_was_sealed_is_read_as_it_was(sealed: bytes) -> None:
    assert check(sealed) == FACTS
    read = load(sealed)
    assert read.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert torch.equal(read[name], value)


def test_every_flipped_bit_of_every_byte_is_noticed(sealed: bytes) -> None:
    for at in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(DamagedError):
            check(bytes(damaged))


def test_every_cut_and_every_addition_is_noticed(sealed: bytes) -> None:
    for end in range(len(sealed)):
        with pytest.raises(DamagedError):
            check(sealed[:end])
    with pytest.raises(DamagedError):
        check(sealed + b"\0")


@pytest.mark.parametrize("data", [b"", b"no safetensors", b"\xff" * 64, save(TENSORS)])
def test_what_was_never_sealed_is_damaged(data: bytes) -> None:
    with pytest.raises(DamagedError):
        check(data)


def test_only_the_wanted_tensors_are_kept_and_sealed_again(sealed: bytes) -> None:
    kept = keep_only(sealed, lambda name: not name.startswith("weights/a"))
    assert check(kept) == FACTS
    read = load(kept)
    assert read.keys() == TENSORS.keys() - {"weights/a"}
    for name, value in read.items():
        assert torch.equal(value, TENSORS[name])
    assert check(keep_only(sealed, lambda name: False)) == FACTS


def test_an_ended_trial_keeps_its_weights_alone(tmp_path: Path, sealed: bytes) -> None:
    file = tmp_path / "trials" / "3" / "checkpoint.safetensors"
    write_checkpoint(file, sealed)
    shrink_checkpoint(file)
    assert load_file(file).keys() == {"weights/a", "weights/b", "meta"}
    assert check(file.read_bytes()) == FACTS
    first = file.read_bytes()
    shrink_checkpoint(file)
    assert file.read_bytes() == first
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    file.write_bytes(sealed[:-1])
    with pytest.raises(DamagedError):
        shrink_checkpoint(file)
