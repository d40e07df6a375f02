"""Max pooling against a loop."""

from __future__ import annotations

import torch
from sentence_transformers.sentence_transformer import modules as stock

from components.pooling.max import Max
from components.ragged import States


def test_equals_a_loop(states: States) -> None:
    ends = states.offsets.tolist()
    parts = [states.values_TD[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]
    got = Max().build(16)(states)
    torch.testing.assert_close(got, torch.stack([p.amax(0) for p in parts]), rtol=0, atol=1e-6)


def test_hand_written_numbers() -> None:
    values = torch.tensor([[1.0, -2.0], [3.0, -4.0], [5.0, 0.5]])
    pooled = Max().build(2)(States(values, torch.tensor([0, 2, 3])))
    assert pooled.tolist() == [
        [3.0, -2.0],
        [5.0, 0.5],
    ]


def test_is_a_stock_pooling() -> None:
    (part,) = Max().build(16).stock() or []
    assert part.type == "Pooling"
    assert part.arguments == {"embedding_dimension": 16, "pooling_mode": "max"}
    assert not part.weights


def test_equal_tokens_pool_to_themselves() -> None:
    token = torch.randn(16)
    pooled = Max().build(16)(States(token.repeat(6, 1), torch.tensor([0, 1, 6])))
    torch.testing.assert_close(pooled, token.repeat(2, 1), rtol=0, atol=1e-6)


def test_equal_largest_values_share_the_gradient_where_the_stock_pooling_picks_one() -> None:
    values = torch.tensor([[1.0], [1.0], [0.0]], requires_grad=True)
    (part,) = Max().build(1).stock() or []
    features = {"token_embeddings": values[None], "attention_mask": torch.ones(1, 3).long()}
    theirs = stock.Pooling(**part.arguments)(features)["sentence_embedding"]
    mine = Max().build(1)(States(values, torch.tensor([0, 3])))
    assert mine.tolist() == theirs.tolist() == [[1.0]]
    (grad,) = torch.autograd.grad(mine.sum(), values)
    assert grad.flatten().tolist() == [0.5, 0.5, 0.0]
    (grad,) = torch.autograd.grad(theirs.sum(), values)
    assert sorted(grad.flatten().tolist()) == [0.0, 0.0, 1.0]
