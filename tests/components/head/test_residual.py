"""The residual head against its formula."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.head.residual import Residual, ResidualHead
from components.stock import Activation

FORMULA = {
    "relu": lambda x: x * (x > 0),
    "gelu": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "tanh": lambda x: (torch.exp(2 * x) - 1) / (torch.exp(2 * x) + 1),
}


@pytest.mark.parametrize("activation", list(FORMULA))
@pytest.mark.parametrize("depth", [1, 3])
def test_values_and_gradients(activation: Activation, depth: int) -> None:
    head = Residual(width=3, hidden=5, depth=depth, activation=activation).build(4)
    assert isinstance(head, ResidualHead)
    with torch.no_grad():
        for norm in head.norms:
            assert isinstance(norm, nn.LayerNorm)
            norm.weight.copy_(torch.randn(5))
            norm.bias.copy_(torch.randn(5))
    pooled = torch.randn(6, 4, requires_grad=True)
    weights = dict(head.named_parameters())
    h = pooled @ weights["enter.weight"].T + weights["enter.bias"]
    for i in range(depth):
        inner = h @ weights[f"blocks.{i}.weight"].T + weights[f"blocks.{i}.bias"]
        h = h + FORMULA[activation](inner)
        h = h - h.mean(1, keepdim=True)
        h = h / ((h * h).mean(1, keepdim=True) + 1e-5).sqrt()
        h = h * weights[f"norms.{i}.weight"] + weights[f"norms.{i}.bias"]
    expected = h @ weights["leave.weight"].T + weights["leave.bias"]
    got = head(pooled, torch.zeros(6, dtype=torch.int64))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    weight = torch.randn_like(got)
    inputs = [pooled, *weights.values()]
    mine = torch.autograd.grad((got * weight).sum(), inputs)
    theirs = torch.autograd.grad((expected * weight).sum(), inputs)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_stock_modules_in_order(depth: int) -> None:
    head = Residual(width=3, hidden=5, depth=depth, activation="silu").build(4)
    described = head.stock()
    assert described is not None
    kinds = [(part.type, part.arguments.get("use_residual", False)) for part in described]
    assert kinds == [
        ("Dense", False), *[("Dense", True), ("LayerNorm", False)] * depth, ("Dense", False),
    ]  # fmt: skip
    acts = [p.arguments["activation_function"] for p in described if p.type == "Dense"]
    assert acts == ["Identity", *["SiLU"] * depth, "Identity"]
    assert sum(t.numel() for part in described for t in part.weights.values()) == sum(
        p.numel() for p in head.parameters()
    )


@pytest.mark.parametrize("depth", [2, 8, 16])
def test_deep_heads_train(depth: int) -> None:
    """The norm after the sum must not choke what reaches the first layers."""
    head = Residual(width=2, hidden=32, depth=depth).build(8)
    pooled = torch.randn(128, 8)
    target = torch.stack([pooled[:, 0] * pooled[:, 1], pooled[:, 2].abs()], 1)
    family = torch.zeros(128, dtype=torch.int64)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.003)
    losses = []
    for _ in range(150):
        loss = (head(pooled, family) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize(
    ("hidden", "depth", "expected"),
    [(1024, 2, 7_085_824), (1024, 1, 6_034_176), (2048, 4, 26_766_080)],
)
def test_parameters(hidden: int, depth: int, expected: int) -> None:
    with torch.device("meta"):
        head = Residual(hidden=hidden, depth=depth).build(4096)
    assert sum(p.numel() for p in head.parameters()) == expected
