"""The MLP head against its formula."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from components.head.mlp import Mlp, MlpHead

FORMULA = {
    "relu": lambda x: x * (x > 0),
    "gelu": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "tanh": lambda x: (torch.exp(2 * x) - 1) / (torch.exp(2 * x) + 1),
}


@pytest.mark.parametrize("activation", list(FORMULA))
def test_formula(activation: Literal["relu", "gelu", "silu", "tanh"]) -> None:
    head = Mlp(width=3, hidden=5, activation=activation).build(4)
    assert isinstance(head, MlpHead)
    pooled = torch.randn(6, 4)
    hidden = FORMULA[activation](pooled @ head.up.weight.T + head.up.bias)
    expected = hidden @ head.down.weight.T + head.down.bias
    got = head(pooled, torch.zeros(6, dtype=torch.int64))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("activation", list(FORMULA))
def test_stock_modules_keep_the_activation(
    activation: Literal["relu", "gelu", "silu", "tanh"],
) -> None:
    head = Mlp(width=3, hidden=5, activation=activation).build(4)
    up, down = head.stock() or []
    assert (up.arguments["in_features"], up.arguments["out_features"]) == (4, 5)
    assert (down.arguments["in_features"], down.arguments["out_features"]) == (5, 3)
    x = torch.randn(7)
    stock = getattr(torch.nn, str(up.arguments["activation_function"]))()
    torch.testing.assert_close(stock(x), FORMULA[activation](x), rtol=0, atol=1e-6)
    assert down.arguments["activation_function"] == "Identity"
