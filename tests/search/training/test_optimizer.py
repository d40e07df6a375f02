"""Which rates and decays the parameters of a trial have, and how the rates rise and fall."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from components.base import Base
from components.encoder import assemble
from search.settings.trial import OptimizerConfig, TrialConfig
from search.training.optimizer import make_optimizer, schedule
from search.training.step import build_loss

MakeConfig = Callable[..., TrialConfig]
UNFROZEN = {"kind": "unfrozen", "last_layers": 3}


def slow_schedule(
    config: OptimizerConfig, epochs: int, steps: int, rung_epochs: int
) -> list[float]:
    """Every rate of a trial, one by one: the rise by counting, the fall by its end points."""
    total = epochs * steps
    warmup = config.warmup * rung_epochs * steps
    rates = []
    for step in range(total):
        if step < warmup:
            rate = config.lr * (step + 1) / (warmup + 1)
        elif config.schedule == "constant":
            rate = config.lr
        else:
            passed = (step - warmup) / max(1.0, total - warmup)  # 0 at the peak, 1 past the end
            fall = passed if config.schedule == "linear" else (1 - math.cos(math.pi * passed)) / 2
            rate = config.lr * (1 - fall)
        rates.append(rate)
    return rates


@pytest.mark.parametrize(("epochs", "steps", "rung_epochs"), [(1, 1, 1), (9, 10, 1), (9, 7, 3)])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_whole_schedules_against_a_slow_count(
    kind: Any, warmup: float, epochs: int, steps: int, rung_epochs: int
) -> None:
    config = OptimizerConfig(lr=0.5, warmup=warmup, schedule=kind)
    rates = [
        schedule(config, step, epochs * steps, rung_epochs * steps)
        for step in range(epochs * steps)
    ]
    assert rates == pytest.approx(slow_schedule(config, epochs, steps, rung_epochs))
    assert all(0 < rate <= 0.5 for rate in rates)
    rising = math.ceil(warmup * rung_epochs * steps)
    assert rising < rung_epochs * steps or not warmup or rung_epochs * steps == 1
    assert rates[:rising] == sorted(rates[:rising])
    assert rates[rising:] == sorted(rates[rising:], reverse=True)


def test_a_warm_up_is_a_share_of_the_first_rung_not_of_all_epochs() -> None:
    config = OptimizerConfig(lr=1.0, warmup=0.1, schedule="constant")
    # Nine epochs of ten steps, the first rung after one: one step rises, not nine.
    assert [schedule(config, step, 90, 10) for step in range(90)] == [0.5] + [1.0] * 89


def test_the_rate_by_hand() -> None:
    def rates(kind: Any) -> list[float]:
        config = OptimizerConfig(lr=1.0, warmup=0.4, schedule=kind)
        return [schedule(config, step, 10, 5) for step in range(10)]

    assert rates("constant") == pytest.approx([1 / 3, 2 / 3] + [1.0] * 8)
    assert rates("linear") == pytest.approx([1 / 3, 2 / 3] + [k / 8 for k in range(8, 0, -1)])
    cosine = [(1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)]
    assert rates("cosine") == pytest.approx([1 / 3, 2 / 3, *cosine])


def test_weight_decay_shrinks_matrices_alone() -> None:
    model = nn.Linear(3, 2)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = make_optimizer(model, OptimizerConfig(lr=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.allclose(model.weight, before["weight"] * (1 - 0.1 * 0.5))
    assert torch.equal(model.bias, before["bias"])


@pytest.mark.parametrize(("base_lr", "share"), [(None, 0.1), (4e-4, 0.02)])
def test_the_base_s_own_weights_have_rates_of_their_own(
    base: Base, config: MakeConfig, base_lr: float | None, share: float
) -> None:
    settings = config(adapter=UNFROZEN)
    encoder = assemble(base, settings.adapter, settings.pooling, settings.head)
    try:
        rates = OptimizerConfig(lr=0.02, base_lr=base_lr, layer_decay=0.5, weight_decay=0.3)
        groups = make_optimizer(encoder, rates).param_groups
        found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
        names = {id(p): name for name, p in encoder.named_parameters()}
        assert found.keys() == names.keys()
        for key, name in names.items():
            matrix = encoder.get_parameter(name).ndim > 1
            depth = next((5 - i for i in range(6) if f"layers/{i}/" in name), 0)
            rate = 0.02 if name.startswith("head") else 0.02 * share * 0.5**depth
            assert found[key] == (pytest.approx(rate), 0.3 * matrix), name
        assert {round(rate / 0.02 / share, 6) for rate, _ in found.values()} >= {1.0, 0.5, 0.25}
    finally:
        encoder.close()


def test_nothing_to_train_is_no_fault_of_the_optimizer() -> None:
    (group,) = make_optimizer(nn.Identity(), OptimizerConfig()).param_groups
    assert [p.shape for p in group["params"]] == [torch.Size(())]


PARTS: dict[str, Any] = {
    "adapter": {"kind": "lora", "rank": 2, "targets": "all-linear"},
    "pooling": {"kind": "weighted", "learned": True, "weights": {"mean": 1.0, "attention": 1.0}},
    "head": {"kind": "mlp", "width": 8, "hidden": 12},
    "loss": {"kind": "sum", "weights": {"info_nce": 1.0, "distillation": 1.0},
             "settings": {"info_nce": {"learned": True}, "distillation": {"teacher": "a"}}},
}  # fmt: skip


@pytest.mark.parametrize("asked", [(), ("adapter",), ("pooling", "loss"), tuple(PARTS)])
def test_each_part_has_the_rate_that_is_asked_for(
    base: Base, config: MakeConfig, asked: tuple[str, ...]
) -> None:
    trial = config(**PARTS)
    given = {part: 0.001 * (index + 1) for index, part in enumerate(PARTS) if part in asked}
    own: dict[str, Any] = {f"{part}_lr": rate for part, rate in given.items()}
    rates = OptimizerConfig(lr=0.5, **own)
    encoder = assemble(base, trial.adapter, trial.pooling, trial.head)
    try:
        model = nn.ModuleDict(
            {"encoder": encoder, "loss": build_loss(trial, base.width, {"a": 24})}
        )
        found = {
            id(p): group["lr"]
            for group in make_optimizer(model, rates).param_groups
            for p in group["params"]
        }
        parts = set()
        for name, parameter in model.named_parameters():
            part = name.removeprefix("encoder.").partition(".")[0]
            parts.add(part)
            assert found.pop(id(parameter)) == pytest.approx(given.get(part, 0.5)), name
        assert parts == set(PARTS)
        assert not found
    finally:
        encoder.close()


@pytest.mark.parametrize(
    ("sections", "idle"),
    [
        ({}, {"adapter", "pooling", "loss", "base", "checkpointing"}),
        (PARTS, {"base"}),
        ({"adapter": UNFROZEN, "head": {"kind": "identity"}},
         {"adapter", "pooling", "head", "loss"}),
        ({"loss": {"kind": "info_nce", "learned": True}, "pooling": {"kind": "attention"}},
         {"adapter", "base", "checkpointing"}),
    ],
)  # fmt: skip
def test_settings_of_parts_without_parameters_are_idle(
    config: MakeConfig, sections: dict[str, Any], idle: set[str]
) -> None:
    keys = {f"optimizer.{part}_lr" for part in idle - {"checkpointing"}}
    keys |= {"optimizer.layer_decay"} if "base" in idle else set()
    keys |= {"training.activation_checkpointing"} if "checkpointing" in idle else set()
    assert config(**sections).idle == keys
