"""InfoNCE against a double loop over the pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from components.loss.info_nce import InfoNce, InfoNceLoss

MEANING = [0, 1, 2, 1, 4, 0]


def by_loop(similarity: list[list[float]], temperature: float) -> float:
    """Mean over rows of -log of the positive's share, repetitions of its sentence left out."""
    total = 0.0
    for i, row in enumerate(similarity):
        others = [j for j in range(len(row)) if j == i or MEANING[j] != MEANING[i]]
        denominator = sum(math.exp(row[j] / temperature) for j in others)
        total -= math.log(math.exp(row[i] / temperature) / denominator)
    return total / len(similarity)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("learned", [True, False])
def test_equals_a_double_loop(symmetric: bool, learned: bool) -> None:
    anchor, positive = normalize(torch.randn(2, 6, 8, dtype=torch.float64), dim=-1)
    loss = InfoNce(temperature=0.3, learned=learned, symmetric=symmetric).build().double()
    similarity = (anchor @ positive.T).tolist()
    expected = by_loop(similarity, 0.3)
    if symmetric:
        turned = [list(column) for column in zip(*similarity, strict=True)]
        expected = (expected + by_loop(turned, 0.3)) / 2
    got = loss(anchor, positive, torch.tensor(MEANING)).item()
    assert got == pytest.approx(expected, abs=1e-6)


def test_a_batch_of_one_costs_nothing() -> None:
    vector = normalize(torch.randn(1, 8), dim=-1)
    assert InfoNce().build()(vector, vector, torch.tensor([3])).item() == 0.0


def test_only_a_learned_temperature_is_a_parameter_and_moves() -> None:
    assert not list(InfoNce(learned=False).build().parameters())
    loss = InfoNce(learned=True, temperature=0.1).build()
    assert isinstance(loss, InfoNceLoss)
    assert loss.temperature.item() == pytest.approx(0.1)
    anchor, positive = normalize(torch.randn(2, 6, 8, dtype=torch.float64), dim=-1)
    loss = loss.double()
    (parameter,) = loss.parameters()
    value = loss(anchor, positive, torch.tensor(MEANING))
    (gradient,) = torch.autograd.grad(value, parameter)
    step = 1e-5
    with torch.no_grad():
        ends = []
        for shift in (step, -2 * step):
            parameter += shift
            ends.append(loss(anchor, positive, torch.tensor(MEANING)).item())
    assert gradient.item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)


def test_a_learned_temperature_stays_above_its_floor() -> None:
    loss = InfoNce(learned=True, temperature=0.001).build()
    assert isinstance(loss, InfoNceLoss)
    assert loss.temperature.item() == pytest.approx(InfoNceLoss.LOWEST)
    fixed = InfoNce(learned=False, temperature=0.001).build()
    assert isinstance(fixed, InfoNceLoss)
    assert fixed.temperature.item() == pytest.approx(0.001)
