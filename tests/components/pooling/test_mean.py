"""Mean pooling against a loop."""

from __future__ import annotations

import torch

from components.pooling.mean import Mean
from components.ragged import States


def test_equals_a_loop(states: States) -> None:
    ends = states.offsets.tolist()
    parts = [states.values_TD[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]
    got = Mean().build(16)(states)
    torch.testing.assert_close(got, torch.stack([p.mean(0) for p in parts]), rtol=0, atol=1e-6)


def test_hand_written_numbers() -> None:
    values = torch.tensor([[1.0, -2.0], [3.0, -4.0], [5.0, 0.5]])
    pooled = Mean().build(2)(States(values, torch.tensor([0, 2, 3])))
    assert pooled.tolist() == [
        [2.0, -3.0],
        [5.0, 0.5],
    ]


def test_is_a_stock_pooling() -> None:
    (part,) = Mean().build(16).stock() or []
    assert part.type == "Pooling"
    assert part.arguments == {"embedding_dimension": 16, "pooling_mode": "mean"}
    assert not part.weights


def test_equal_tokens_pool_to_themselves() -> None:
    token = torch.randn(16)
    pooled = Mean().build(16)(States(token.repeat(6, 1), torch.tensor([0, 1, 6])))
    torch.testing.assert_close(pooled, token.repeat(2, 1), rtol=0, atol=1e-6)
