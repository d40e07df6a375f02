"""The linear head against its formula."""

from __future__ import annotations

import pytest
import torch

from components.head.linear import Linear, LinearHead


@pytest.mark.parametrize("bias", [True, False])
def test_formula(bias: bool) -> None:
    head = Linear(width=3, bias=bias).build(4)
    assert isinstance(head, LinearHead)
    pooled = torch.randn(2, 4)
    weight, shift = head.linear.weight.detach(), torch.zeros(3)
    if bias:
        shift = head.linear.bias.detach()
    expected = [
        [sum(weight[e, d] * row[d] for d in range(4)) + shift[e] for e in range(3)]
        for row in pooled
    ]
    got = head(pooled, torch.zeros(2, dtype=torch.int64))
    torch.testing.assert_close(
        got, torch.tensor([[float(x) for x in row] for row in expected]), rtol=0, atol=1e-6
    )
    assert sum(p.numel() for p in head.parameters()) == 12 + 3 * bias


@pytest.mark.parametrize(("bias", "names"), [(True, ["weight", "bias"]), (False, ["weight"])])
def test_stock_description(bias: bool, names: list[str]) -> None:
    head = Linear(width=3, bias=bias).build(4)
    (part,) = head.stock() or []
    assert part.type == "Dense"
    assert part.arguments == {
        "in_features": 4,
        "out_features": 3,
        "bias": bias,
        "activation_function": "Identity",
    }
    assert list(part.weights) == [f"linear.{name}" for name in names]
    for weight, own in zip(part.weights.values(), head.parameters(), strict=True):
        assert torch.equal(weight, own)
