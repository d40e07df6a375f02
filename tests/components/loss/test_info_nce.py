"""InfoNCE against a double loop over the pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from components.embedded import Embedded
from components.loss.info_nce import InfoNce, InfoNceLoss
from tests.components.conftest import embedded, some_same

MEANING = [0, 1, 2, 1, 4, 0]
# Two a pair; the fourth and the last repeat a sentence of the batch, so that pair 1 (and 3) must
# not meet the one, nor pair 2 the other.
MINED = [10, 11, 12, 1, 14, 15, 16, 17, 18, 19, 20, 2]


def batch_of(anchor: Tensor, positive: Tensor, mined: Tensor | None = None) -> Embedded:
    numbers = None if mined is None else torch.tensor(MINED)
    return embedded(anchor, positive, torch.tensor(MEANING), mined, numbers)


def by_loop(similarity: Tensor, temperature: float, meanings: list[int]) -> Tensor:
    """Mean over rows of -log of the positive's share, repetitions of its sentence left out."""
    terms = []
    for i, row in enumerate(similarity):
        others = [j for j, meaning in enumerate(meanings) if j == i or meaning != MEANING[i]]
        denominator = sum((row[j] / temperature).exp() for j in others)
        terms.append(-((row[i] / temperature).exp() / denominator).log())
    return torch.stack(terms).mean()


@pytest.mark.parametrize("mined", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("learned", [True, False])
def test_equals_a_double_loop_with_gradients(symmetric: bool, learned: bool, mined: bool) -> None:
    anchor, positive = (normalize(torch.randn(6, 8), dim=-1).requires_grad_() for _ in range(2))
    negative = normalize(torch.randn(12, 8), dim=-1).requires_grad_()
    loss = InfoNce(temperature=0.3, learned=learned, symmetric=symmetric).build(8)
    candidate = torch.cat([positive, negative]) if mined else positive
    expected = by_loop(anchor @ candidate.T, 0.3, MEANING + MINED if mined else MEANING)
    if symmetric:
        expected = (expected + by_loop(positive @ anchor.T, 0.3, MEANING)) / 2
    got = loss(batch_of(anchor, positive, negative if mined else None))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    sides = [anchor, positive, negative][: 3 if mined else 2]
    for mine, theirs in zip(
        torch.autograd.grad(got, sides), torch.autograd.grad(expected, sides), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_other_translations_are_left_out_in_both_directions() -> None:
    sides = [normalize(torch.randn(n, 8), dim=-1).requires_grad_() for n in (6, 6, 12)]
    is_same = some_same(6, 12)
    candidate = torch.cat(sides[1:])
    terms = []
    for here, there, same in (
        (sides[0], candidate, is_same[:6, 6:]),
        (sides[1], sides[0], is_same[6:, :6]),
    ):
        for i in range(6):
            counted = [j for j in range(len(there)) if j == i or not same[i, j]]
            logits = torch.stack([here[i] @ there[j] / 0.3 for j in counted])
            terms.append(logits.logsumexp(0) - here[i] @ there[i] / 0.3)
    expected = torch.stack(terms).mean()
    loss = InfoNce(temperature=0.3).build(8)
    got = loss(Embedded(sides[0], sides[1], is_same, sides[2]))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_hand_written_numbers() -> None:
    # Two orthogonal pairs at temperature 1: each row's share of the positive is e / (e + 1).
    eye = torch.eye(2)
    loss = InfoNce(temperature=1.0).build(2)
    value = loss(embedded(eye, eye, torch.tensor([0, 1])))
    assert value.item() == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-6)
    # The same sentence twice has no negatives, so nothing is to be told apart.
    assert loss(embedded(eye, eye, torch.tensor([5, 5]))).item() == 0.0
    # One mined negative a pair, opposite to the first: e / (e + 1/e) there.
    pair = eye[:1]
    value = loss(embedded(pair, pair, torch.tensor([0]), -pair, torch.tensor([1])))
    assert value.item() == pytest.approx(math.log(1 + math.exp(-2)) / 2, abs=1e-6)


def test_equal_vectors_cost_the_logarithm_of_their_number() -> None:
    same = normalize(torch.ones(7, 4), dim=-1)
    value = InfoNce().build(4)(embedded(same, same, torch.arange(7)))
    assert value.item() == pytest.approx(math.log(7), abs=1e-5)


def test_a_batch_of_one_costs_nothing() -> None:
    vector = normalize(torch.randn(1, 8), dim=-1).requires_grad_()
    value = InfoNce().build(8)(embedded(vector, vector, torch.tensor([3])))
    assert value.item() == 0.0
    (grad,) = torch.autograd.grad(value, vector)
    assert not grad.any()


def test_only_a_learned_temperature_is_a_parameter_and_moves() -> None:
    assert not list(InfoNce(learned=False).build(8).parameters())
    loss = InfoNce(learned=True, temperature=0.1).build(8)
    assert isinstance(loss, InfoNceLoss)
    assert loss.temperature.item() == pytest.approx(0.1)
    batch = batch_of(*normalize(torch.randn(2, 6, 8, dtype=torch.float64), dim=-1))
    loss = loss.double()
    (parameter,) = loss.parameters()
    (gradient,) = torch.autograd.grad(loss(batch), parameter)
    step = 1e-5
    with torch.no_grad():
        ends = []
        for shift in (step, -2 * step):
            parameter.add_(shift)
            ends.append(loss(batch).item())
    assert gradient.item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)


def test_a_learned_temperature_stays_above_its_floor() -> None:
    loss = InfoNce(learned=True, temperature=0.001).build(8)
    assert isinstance(loss, InfoNceLoss)
    assert loss.temperature.item() == pytest.approx(InfoNceLoss.LOWEST)
    optimizer = torch.optim.SGD(loss.parameters(), lr=1.0)
    (parameter,) = loss.parameters()
    with torch.no_grad():
        parameter.sub_(5)  # as one long step might
    loss(batch_of(*normalize(torch.randn(2, 6, 8), dim=-1))).backward()
    # Random pairs want a higher temperature: the floor holds it up, and must not hold it down.
    assert parameter.grad is not None
    assert parameter.grad.item() < 0
    optimizer.step()
    assert loss.temperature.item() > InfoNceLoss.LOWEST
    fixed = InfoNce(learned=False, temperature=0.001).build(8)
    assert isinstance(fixed, InfoNceLoss)
    assert fixed.temperature.item() == pytest.approx(0.001)
