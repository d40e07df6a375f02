"""What every loss must do, without naming one."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from components.interface import Loss, LossConfig, variants

KINDS = variants("components.loss", LossConfig)


@pytest.fixture(params=list(KINDS))
def loss(request: pytest.FixtureRequest) -> Loss:
    config = KINDS[request.param]()
    assert isinstance(config, LossConfig)
    return config.build()


@pytest.mark.parametrize("size", [1, 2, 9])
def test_a_finite_scalar_with_finite_gradients(loss: Loss, size: int) -> None:
    raw = torch.randn(2, size, 8, requires_grad=True)
    anchor, positive = normalize(raw, dim=-1)
    meaning = torch.arange(size)
    before = [tensor.detach().clone() for tensor in (anchor, positive, meaning)]
    value = loss(anchor, positive, meaning)
    assert value.shape == ()
    assert value.dtype == torch.float32
    value.backward()
    for now, then in zip((anchor, positive, meaning), before, strict=True):
        assert torch.equal(now, then)
    assert value.isfinite()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()
    for name, parameter in loss.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite(), name
        assert size == 1 or parameter.grad.abs().sum() > 0, name


def test_order_of_the_pairs_and_repeated_meanings(loss: Loss) -> None:
    anchor, positive = normalize(torch.randn(2, 9, 8), dim=-1)
    meaning = torch.tensor([0, 1, 2, 3, 1, 5, 6, 0, 8])
    order = torch.randperm(9)
    torch.testing.assert_close(
        loss(anchor[order], positive[order], meaning[order]), loss(anchor, positive, meaning)
    )
    everything_equal = loss(anchor, positive, torch.zeros(9, dtype=torch.int64))
    assert everything_equal.isfinite()


def test_true_pairs_cost_less_than_false_ones(loss: Loss) -> None:
    anchor = normalize(torch.randn(9, 8), dim=-1)
    meaning = torch.arange(9)
    assert loss(anchor, anchor, meaning) < loss(anchor, anchor.roll(1, 0), meaning)
