"""Checkpoints: whole after a round trip, one sentence where they are damaged."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from search.training.checkpoint import Checkpoint, capture, restore, restore_weights
from tests.search.training.checkpoint_files import read_bytes, written


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    module[0].bias.requires_grad_(False)
    return module


def optimizer_of(model: nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()


def same(left: Checkpoint, right: Checkpoint) -> bool:
    def equal(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> bool:
        return a.keys() == b.keys() and all(
            a[k] is b[k] or (torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype) for k in a
        )

    return (
        (left.epoch, left.seconds) == (right.epoch, right.seconds)
        and equal(left.weights, right.weights)
        and equal(left.optimizer, right.optimizer)
        and equal(dict(enumerate(left.random)), dict(enumerate(right.random)))
        and equal({"mined": left.mined}, {"mined": right.mined})
    )


@pytest.fixture
def checkpoint(model: nn.Module) -> Checkpoint:
    optimizer = optimizer_of(model)
    step(model, optimizer)
    return capture(model, optimizer, 2, 0.1 + 0.2)


def test_bytes_round_trip(checkpoint: Checkpoint) -> None:
    assert same(read_bytes(written(checkpoint)), checkpoint)


def test_negatives_in_force_go_with_it(model: nn.Module, checkpoint: Checkpoint) -> None:
    assert checkpoint.mined is None
    assert read_bytes(written(checkpoint)).mined is None
    rows_LRK = torch.randint(-1, 9, (2, 5, 3), dtype=torch.int32)
    taken = capture(model, optimizer_of(model), 2, 0.5, rows_LRK)
    again = read_bytes(written(taken))
    assert same(again, taken)
    assert again.mined is not None and torch.equal(again.mined, rows_LRK)
    # A model may have a parameter of that name.
    named = Checkpoint(1, 0.0, {"mined": torch.ones(2)}, {}, [torch.get_rng_state()], rows_LRK)
    assert same(read_bytes(written(named)), named)


def test_only_what_trains_is_in_it(checkpoint: Checkpoint) -> None:
    assert set(checkpoint.weights) == {"0.weight", "1.weight", "1.bias"}
    quantities = {"step", "exp_avg", "exp_avg_sq"}
    assert set(checkpoint.optimizer) == {f"{n}/{q}" for n in checkpoint.weights for q in quantities}


def test_types_scalars_empty_tensors_and_views_survive() -> None:
    weights = {
        "half": torch.randn(3).bfloat16(),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
        "view": torch.randn(3, 4).T,
    }
    made = Checkpoint(1, 0.0, weights, {}, [torch.get_rng_state()])
    assert same(read_bytes(written(made)), made)


def test_going_on_from_bytes_equals_going_on(model: nn.Module) -> None:
    optimizer = optimizer_of(model)
    step(model, optimizer)
    data = written(capture(model, optimizer, 1, 0.0))
    for _ in range(3):
        step(model, optimizer)
    other = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    other.load_state_dict(model.state_dict())
    other[0].bias.requires_grad_(False)
    resumed = optimizer_of(other)
    torch.manual_seed(99)
    restore(read_bytes(data), other, resumed)
    for _ in range(3):
        step(other, resumed)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, other.get_parameter(name)), name


def test_what_is_written_or_read_does_not_change_as_training_goes_on(model: nn.Module) -> None:
    optimizer = optimizer_of(model)
    step(model, optimizer)
    taken = capture(model, optimizer, 1, 0.0)
    before = written(taken)
    read, again = read_bytes(before), read_bytes(before)
    restore(read, model, optimizer)
    step(model, optimizer)
    assert same(read, again)
    assert not same(taken, again)  # it is what trains, not a copy


def test_what_lasts_are_the_weights_and_the_epoch(checkpoint: Checkpoint) -> None:
    lasting = read_bytes(b"".join(checkpoint.pieces(lasting=True)))
    assert same(lasting, replace(checkpoint, optimizer={}, random=[]))


def test_part_keeps_what_is_below_a_prefix(checkpoint: Checkpoint) -> None:
    assert set(checkpoint.part("1.").weights) == {"weight", "bias"}


def test_weights_of_another_model_are_refused(checkpoint: Checkpoint) -> None:
    other = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"of another model: they differ in '0\.bias'"):
        restore_weights(checkpoint, other)
    with pytest.raises(ValueError, match="of another model"):
        restore(checkpoint, other, optimizer_of(other))


def test_every_cut_is_one_value_error(checkpoint: Checkpoint) -> None:
    data = written(checkpoint)
    header = 8 + struct.unpack("<Q", data[:8])[0]
    for size in [*range(0, header + 8, 7), len(data) // 2, len(data) - 1]:
        with pytest.raises(ValueError, match="the checkpoint is damaged"):
            read_bytes(data[:size])
    with pytest.raises(ValueError, match="damaged"):
        read_bytes(data + b"more")


def test_a_flipped_byte_is_a_value_error_or_another_value(checkpoint: Checkpoint) -> None:
    data = written(checkpoint)
    header = 8 + struct.unpack("<Q", data[:8])[0]
    meta = data.index(b'{"epoch"')
    for place in [*range(header), *range(meta, meta + 40)]:
        damaged = bytearray(data)
        damaged[place] ^= 0x15
        with contextlib.suppress(ValueError):  # any other exception fails this test
            read_bytes(bytes(damaged))


@pytest.mark.parametrize("missing", ["meta", "random/0"])
def test_what_safetensors_accepts_may_still_be_no_checkpoint(
    checkpoint: Checkpoint, missing: str
) -> None:
    tensors = load(written(checkpoint))
    tensors["elsewhere"] = tensors.pop(missing)
    with pytest.raises(ValueError, match="the checkpoint is damaged"):
        read_bytes(save(tensors))
