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
    assert torch.equal(family, torch.tensor([0, 1, 4, 1, 5]))
    assert pooled.grad is not None
    assert pooled.grad.isfinite().all()
    assert (pooled.grad.abs().sum(1) > 0).all()
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
    pooled = torch.randn(5, 16, requires_grad=True)
    features: dict[str, Any] = {"sentence_embedding": pooled}
    for part in described:
        arguments = dict(part.arguments)
        if "activation_function" in arguments:
            arguments["activation_function"] = getattr(nn, arguments["activation_function"])()
        module = getattr(stock, part.type)(**arguments)
        module.load_state_dict(part.weights)
        features = module(features)
    got = head(pooled, torch.zeros(5, dtype=torch.int64))
    expected = features["sentence_embedding"]
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    weight = torch.randn_like(got)
    mine, theirs = (torch.autograd.grad((out * weight).sum(), pooled)[0] for out in (got, expected))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_meta_device_counts_as_the_real_one_does(kind: str) -> None:
    config = KINDS[kind].model_validate({"kind": kind, "width": 6})
    assert isinstance(config, HeadConfig)
    with torch.device("meta"):
        shadow = config.build(16)
    assert all(p.is_meta for p in shadow.parameters())
    shapes = [{n: p.shape for n, p in h.named_parameters()} for h in (shadow, config.build(16))]
    assert shapes[0] == shapes[1]
