"""Position-weighted mean pooling against a loop."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from components.pooling.position_weighted import PositionWeighted
from components.ragged import States


def test_equals_a_loop(states: States) -> None:
    ends = states.offsets.tolist()
    rows = []
    for a, b in zip(ends[:-1], ends[1:], strict=True):
        total = sum(range(1, b - a + 1))
        weighted = [states.values_TD[a + i] * (i + 1) / total for i in range(b - a)]
        rows.append(sum(weighted, torch.zeros(16)))
    got, want = PositionWeighted().build(16)(states), torch.stack(rows)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)
    weight = torch.randn_like(got)
    mine, theirs = (
        torch.autograd.grad((pooled * weight).sum(), states.values_TD)[0] for pooled in (got, want)
    )
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_hand_written_numbers() -> None:
    values = torch.tensor([[6.0, -12.0], [3.0, 0.0], [2.0, 4.0], [5.0, 0.5]])
    pooled = PositionWeighted().build(2)(States(values, torch.tensor([0, 3, 4])))
    assert pooled.tolist() == [[3.0, 0.0], [5.0, 0.5]]


def test_runs_on_stored_ramps(states: States) -> None:
    stored = SimpleNamespace(ramp=states.ramp)
    assert torch.equal(PositionWeighted().build(16)(stored), states.ramp)


def test_equal_tokens_pool_to_themselves() -> None:
    token = torch.randn(16)
    pooled = PositionWeighted().build(16)(States(token.repeat(6, 1), torch.tensor([0, 1, 6])))
    torch.testing.assert_close(pooled, token.repeat(2, 1), rtol=0, atol=1e-6)


def test_is_a_stock_pooling() -> None:
    (part,) = PositionWeighted().build(16).stock() or []
    assert part.type == "Pooling"
    assert part.arguments == {"embedding_dimension": 16, "pooling_mode": "weightedmean"}
    assert not part.weights
