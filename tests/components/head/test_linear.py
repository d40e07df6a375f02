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
    weight, shift = head.linear.weight, head.linear.bias if bias else torch.zeros(3)
    expected = [
        [sum(weight[e, d] * row[d] for d in range(4)) + shift[e] for e in range(3)]
        for row in pooled
    ]
    got = head(pooled, torch.zeros(2, dtype=torch.int64))
    torch.testing.assert_close(
        got, torch.tensor([[float(x) for x in row] for row in expected]), rtol=0, atol=1e-6
    )
    assert sum(p.numel() for p in head.parameters()) == 12 + 3 * bias
