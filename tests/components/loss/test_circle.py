"""Circle loss against pytorch-metric-learning, and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from pytorch_metric_learning.losses import CircleLoss as TheirCircleLoss
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor
from torch.nn.functional import normalize

from components.loss.circle import Circle
from tests.components.conftest import embedded


def close(got: Tensor, expected: Tensor, sides: list[Tensor]) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    mine, theirs = (
        torch.autograd.grad(value, sides, retain_graph=True) for value in (got, expected)
    )
    for one, other in zip(mine, theirs, strict=True):
        assert other.any()
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


MEANINGS = {"distinct": [0, 1, 2, 3, 4, 5], "repeated": [0, 1, 2, 1, 4, 0]}
MINED = [10, 11, 12, 1, 14, 15, 16, 17, 18, 19, 20, 2]


@pytest.mark.parametrize("mined", [True, False])
@pytest.mark.parametrize("meanings", list(MEANINGS))
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("margin", "gamma"), [(0.25, 80.0), (0.4, 16.0), (0.1, 2.0)])
def test_equals_pytorch_metric_learning(
    margin: float, gamma: float, symmetric: bool, meanings: str, mined: bool
) -> None:
    # Gradients of the vectors before they are made unit ones, as theirs makes them so once more.
    raw = torch.randn(24, 8, requires_grad=True)
    anchor, positive, negative = normalize(raw, dim=-1).split([6, 6, 12])
    meaning, of_negative = torch.tensor(MEANINGS[meanings]), torch.tensor(MINED)
    batch = embedded(anchor, positive, meaning)
    candidate, of_candidate = positive, meaning.clone()
    if mined:
        batch = embedded(anchor, positive, meaning, negative, of_negative)
        candidate = torch.cat([positive, negative])
        of_candidate = torch.cat([meaning, of_negative])
    theirs = TheirCircleLoss(m=margin, gamma=gamma, reducer=MeanReducer())
    expected = theirs(anchor, meaning, ref_emb=candidate, ref_labels=of_candidate)
    if symmetric:
        back = theirs(positive, meaning, ref_emb=anchor, ref_labels=meaning.clone())
        expected = (expected + back) / 2
    loss = Circle(margin=margin, gamma=gamma, symmetric=symmetric).build(8)
    close(loss(batch), expected, [raw])


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_batch_of_one_sentence_costs_nothing(symmetric: bool) -> None:
    anchor, positive, negative = raw = normalize(torch.randn(3, 2, 8), dim=-1).requires_grad_()
    one = torch.zeros(2, dtype=torch.int64)
    for batch in (
        embedded(anchor, positive, one),
        embedded(anchor, positive, one, negative, one),  # what was mined repeats the sentence
    ):
        value = Circle(symmetric=symmetric).build(8)(batch)
        assert value.item() == 0.0
        (grad,) = torch.autograd.grad(value, raw, retain_graph=True)
        assert torch.equal(grad, torch.zeros_like(raw))


def test_a_direction_without_negatives_costs_nothing() -> None:
    anchor, positive, negative = normalize(torch.randn(3, 2, 8), dim=-1)
    one = torch.zeros(2, dtype=torch.int64)
    # Both pairs are one sentence, which only a mined negative contrasts with; none has a way back.
    batch = embedded(anchor, positive, one, negative, torch.tensor([0, 5]))
    both = Circle(gamma=3.0).build(8)(batch)
    forward = Circle(gamma=3.0, symmetric=False).build(8)(batch)
    assert forward > 0
    assert both.item() == pytest.approx(forward.item() / 2, abs=1e-6)


def test_hand_written_numbers() -> None:
    # s_p = 0.6, s_n = 0 for both anchors; m = 0.25, gamma = 2: alpha_p = 0.65, alpha_n = 0.25.
    anchor = torch.eye(4)[:2]
    positive = 0.6 * anchor + 0.8 * torch.eye(4)[2:]
    batch = embedded(anchor, positive, torch.tensor([0, 1]))
    value = Circle(margin=0.25, gamma=2.0).build(4)(batch)
    exponent = 2 * 0.25 * (0 - 0.25) - 2 * 0.65 * (0.6 - 0.75)
    assert value.item() == pytest.approx(math.log(1 + math.exp(exponent)), abs=1e-6)


def test_beyond_its_optimum_a_similarity_weighs_nothing() -> None:
    # s_n = -1, below -m: alpha_n is 0, and so is its gradient.
    anchor = torch.tensor([[1.0, 0.0]], requires_grad=True)
    positive = torch.tensor([[0.6, 0.8]])
    negative = torch.tensor([[-1.0, 0.0]], requires_grad=True)
    batch = embedded(anchor, positive, torch.tensor([0]), negative, torch.tensor([1]))
    value = Circle(margin=0.25, gamma=2.0, symmetric=False).build(2)(batch)
    weight = 2 * (1.25 - 0.6)
    exponent = -weight * (0.6 - 0.75)
    assert value.item() == pytest.approx(math.log(1 + math.exp(exponent)), abs=1e-6)
    grads = torch.autograd.grad(value, (anchor, negative))
    # The weights pass no gradient: d/da = -sigmoid(exponent) gamma alpha_p p.
    share = 1 / (1 + math.exp(-exponent))
    torch.testing.assert_close(grads[0], -share * weight * positive, rtol=0, atol=1e-6)
    assert not grads[1].any()


@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_a_margin_lies_between_zero_and_one(margin: float) -> None:
    with pytest.raises(ValidationError, match="than"):
        Circle(margin=margin)
