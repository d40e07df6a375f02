"""What every head must do, without naming one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer import modules as stock
from torch import nn

from components.interface import Head, HeadConfig, variants

KINDS = variants("components.head", HeadConfig)


@pytest.fixture(params=list(KINDS))
def head(request: pytest.FixtureRequest) -> Head:
    config = KINDS[request.param].model_validate({"kind": request.param, "width": 6})
    assert isinstance(config, HeadConfig)
    return config.build(16)


def test_shape_gradients_and_order(head: Head) -> None:
    pooled = torch.randn(5, 16, requires_grad=True)
    before = pooled.detach().clone()
    family = torch.tensor([0, 1, 4, 1, 5])
    out = head(pooled, family)
    assert out.shape == (5, 6)
    assert out.dtype == torch.float32
    (out * torch.randn_like(out)).sum().backward()
    assert torch.equal(pooled, before)
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(head(pooled[order], family[order]), out[order], rtol=0, atol=1e-6)
    torch.testing.assert_close(head(pooled[:1], family[:1]), out[:1], rtol=0, atol=1e-6)


def test_stock_modules_give_the_same(head: Head) -> None:
    described = head.stock()
    assert described, "an export needs it"
    pooled = torch.randn(5, 16)
    features: dict[str, Any] = {"sentence_embedding": pooled}
    for part in described:
        arguments = dict(part.arguments)
        if "activation_function" in arguments:
            arguments["activation_function"] = getattr(nn, arguments["activation_function"])()
        module = getattr(stock, part.type)(**arguments)
        module.load_state_dict(part.weights)
        features = module(features)
    got = head(pooled, torch.zeros(5, dtype=torch.int64))
    torch.testing.assert_close(got, features["sentence_embedding"], rtol=0, atol=1e-6)
