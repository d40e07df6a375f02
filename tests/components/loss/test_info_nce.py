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


@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients_equal_a_double_loop(symmetric: bool) -> None:
    anchor, positive = (
        side.detach().requires_grad_() for side in normalize(torch.randn(2, 6, 8), dim=-1)
    )
    terms = []
    for i in range(6):
        others = [j for j in range(6) if j == i or MEANING[j] != MEANING[i]]
        rows = [[anchor[i] @ positive[j] / 0.3 for j in others]]
        if symmetric:
            rows.append([anchor[j] @ positive[i] / 0.3 for j in others])
        for row in rows:
            denominator = torch.stack(row).exp().sum()
            terms.append((denominator.log() - row[others.index(i)]) / len(rows))
    value = InfoNce(temperature=0.3, symmetric=symmetric).build()(
        anchor, positive, torch.tensor(MEANING)
    )
    want = torch.autograd.grad(torch.stack(terms).sum() / 6, (anchor, positive))
    got = torch.autograd.grad(value, (anchor, positive))
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_hand_written_numbers() -> None:
    # Two orthogonal pairs at temperature 1: each row's share of the positive is e / (e + 1).
    eye = torch.eye(2)
    value = InfoNce(temperature=1.0).build()(eye, eye, torch.tensor([0, 1]))
    assert value.item() == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-6)
    # The same sentence twice has no negatives, so nothing is to be told apart.
    assert InfoNce(temperature=1.0).build()(eye, eye, torch.tensor([5, 5])).item() == 0.0


def test_equal_vectors_cost_the_logarithm_of_their_number() -> None:
    same = normalize(torch.ones(7, 4), dim=-1)
    value = InfoNce().build()(same, same, torch.arange(7))
    assert value.item() == pytest.approx(math.log(7), abs=1e-5)


def test_a_batch_of_one_costs_nothing() -> None:
    vector = normalize(torch.randn(1, 8), dim=-1).requires_grad_()
    value = InfoNce().build()(vector, vector, torch.tensor([3]))
    assert value.item() == 0.0
    (grad,) = torch.autograd.grad(value, vector)
    assert not grad.any()


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
    anchor, positive = normalize(torch.randn(2, 6, 8), dim=-1)
    optimizer = torch.optim.SGD(loss.parameters(), lr=1.0)
    (parameter,) = loss.parameters()
    with torch.no_grad():
        parameter -= 5  # as one long step might
    loss(anchor, positive, torch.tensor(MEANING)).backward()
    # Random pairs want a higher temperature: the floor holds it up, and must not hold it down.
    assert parameter.grad is not None
    assert parameter.grad.item() < 0
    optimizer.step()
    assert loss.temperature.item() > InfoNceLoss.LOWEST
    fixed = InfoNce(learned=False, temperature=0.001).build()
    assert isinstance(fixed, InfoNceLoss)
    assert fixed.temperature.item() == pytest.approx(0.001)
