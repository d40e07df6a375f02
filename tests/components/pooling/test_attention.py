"""Attention pooling against a loop over sentences and heads."""

from __future__ import annotations

import pytest
import torch

from components.pooling.attention import Attention, AttentionPooling
from components.pooling.mean import Mean
from components.ragged import States


@pytest.mark.parametrize("heads", [1, 4, 16])
def test_equals_a_loop(states: States, heads: int) -> None:
    pooling = Attention(heads=heads).build(16)
    assert isinstance(pooling, AttentionPooling)
    torch.nn.init.normal_(pooling.query_HK)
    ends = states.offsets.tolist()
    expected = []
    for a, b in zip(ends[:-1], ends[1:], strict=True):
        pooled = []
        for head in range(heads):
            part = states.values_TD[a:b].view(b - a, heads, -1)[:, head]
            scores = [
                (token @ pooling.query_HK[head]).item() / (16 / heads) ** 0.5 for token in part
            ]
            weights = torch.tensor(scores).softmax(0)
            pooled.append(sum(w * token for w, token in zip(weights, part, strict=True)))
        expected.append(torch.cat(pooled))
    torch.testing.assert_close(pooling(states), torch.stack(expected), rtol=0, atol=1e-5)


def test_starts_as_the_mean_and_learns_from_there(states: States) -> None:
    pooling = Attention(heads=2).build(16)
    got = pooling(states)
    torch.testing.assert_close(got, Mean().build(16)(states), rtol=0, atol=1e-6)
    (got * torch.randn_like(got)).sum().backward()
    (query,) = pooling.parameters()
    assert query.grad is not None
    assert (query.grad.abs().sum(1) > 0).all()


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match=r"pooling.heads is 3; it must divide .* 16"):
        Attention(heads=3).build(16)


@pytest.mark.parametrize("heads", [1, 4])
def test_gradients_equal_a_loop(states: States, heads: int) -> None:
    pooling = Attention(heads=heads).build(16)
    assert isinstance(pooling, AttentionPooling)
    torch.nn.init.normal_(pooling.query_HK)
    ends = states.offsets.tolist()
    rows = []
    for a, b in zip(ends[:-1], ends[1:], strict=True):
        slices = states.values_TD[a:b].view(b - a, heads, 16 // heads).unbind(1)
        weights = [
            (part @ query / (16 / heads) ** 0.5).softmax(0)
            for part, query in zip(slices, pooling.query_HK, strict=True)
        ]
        rows.append(torch.cat([w @ part for w, part in zip(weights, slices, strict=True)]))
    weight = torch.randn(len(states), 16)
    leaves = (states.values_TD, pooling.query_HK)
    got = torch.autograd.grad((pooling(states) * weight).sum(), leaves)
    want = torch.autograd.grad((torch.stack(rows) * weight).sum(), leaves)
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


def test_no_stock_module_computes_it() -> None:
    assert Attention().build(16).stock() is None


def test_equal_tokens_pool_to_themselves() -> None:
    pooling = Attention(heads=4).build(16)
    torch.nn.init.normal_(next(pooling.parameters()))
    token = torch.randn(16)
    pooled = pooling(States(token.repeat(6, 1), torch.tensor([0, 1, 6])))
    torch.testing.assert_close(pooled, token.repeat(2, 1), rtol=0, atol=1e-6)
