"""First-token pooling against a loop."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from components.pooling.cls import Cls
from components.ragged import States


def test_equals_a_loop(states: States) -> None:
    ends = states.offsets.tolist()
    parts = [states.values_TD[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]
    pooled = Cls().build(16)(states)
    assert torch.equal(pooled, torch.stack([p[0] for p in parts]))
    weight = torch.randn_like(pooled)
    (got,) = torch.autograd.grad((pooled * weight).sum(), states.values_TD)
    want = torch.zeros_like(states.values_TD)
    want[ends[:-1]] = weight
    assert torch.equal(got, want)


def test_hand_written_numbers() -> None:
    values = torch.tensor([[1.0, -2.0], [3.0, -4.0], [5.0, 0.5]])
    pooled = Cls().build(2)(States(values, torch.tensor([0, 2, 3])))
    assert pooled.tolist() == [[1.0, -2.0], [5.0, 0.5]]


def test_runs_on_stored_first_states(states: States) -> None:
    stored = SimpleNamespace(first=states.first)
    assert torch.equal(Cls().build(16)(stored), states.first)


def test_equal_tokens_pool_to_themselves() -> None:
    token = torch.randn(16)
    pooled = Cls().build(16)(States(token.repeat(6, 1), torch.tensor([0, 1, 6])))
    assert torch.equal(pooled, token.repeat(2, 1))


def test_is_for_bases_whose_first_token_sees_the_others() -> None:
    assert Cls().needs_bidirectional
    assert not Cls().only_scales


def test_is_a_stock_pooling() -> None:
    (part,) = Cls().build(16).stock() or []
    assert part.type == "Pooling"
    assert part.arguments == {"embedding_dimension": 16, "pooling_mode": "cls"}
    assert not part.weights
