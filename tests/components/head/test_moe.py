"""The mixture of experts against a loop over sentences and experts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from components.head.moe import Moe, MoeHead

NOBODY = torch.zeros(5, dtype=torch.int64)


def trained(experts: int = 3, balance: float = 0.01) -> MoeHead:
    """A head whose gate has left zero."""
    head = Moe(width=2, experts=experts, balance=balance).build(4)
    assert isinstance(head, MoeHead)
    nn.init.normal_(head.gate.weight)
    return head


def one_by_one(head: MoeHead, pooled: Tensor) -> tuple[Tensor, Tensor]:
    rows, weights = [], []
    for row in pooled:
        scores = [(head.gate.weight[k] * row).sum() / 2.0 for k in range(head.experts)]  # sqrt 4
        total = torch.stack([score.exp() for score in scores]).sum()
        weights.append(torch.stack([score.exp() / total for score in scores]))
        mixed = torch.zeros(2)
        for k in range(head.experts):
            weight = head.project.weight[2 * k : 2 * k + 2]
            shift = head.project.bias[2 * k : 2 * k + 2]
            mixed = mixed + weights[-1][k] * ((weight * row).sum(1) + shift)
        rows.append(mixed)
    return torch.stack(rows), torch.stack(weights)


@pytest.mark.parametrize("experts", [2, 3])
@pytest.mark.parametrize("sentences", [5, 1])
def test_values_and_gradients(experts: int, sentences: int) -> None:
    head = trained(experts)
    pooled = torch.randn(sentences, 4, requires_grad=True)
    got = head(pooled, NOBODY[:sentences])
    expected, weights = one_by_one(head, pooled)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(head.routing(pooled), weights, rtol=0, atol=1e-6)
    weight = torch.randn_like(got)
    inputs = [pooled, *head.parameters()]
    mine = torch.autograd.grad((got * weight).sum(), inputs)
    theirs = torch.autograd.grad((expected * weight).sum(), inputs)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_the_penalty_is_the_squared_coefficient_of_variation() -> None:
    head = trained(balance=0.5)
    pooled = torch.randn(5, 4)
    _, weights = one_by_one(head, pooled)
    used = [sum(float(row[k]) for row in weights.detach()) for k in range(3)]
    mean = sum(used) / 3
    variance = sum((u - mean) ** 2 for u in used) / 3
    got = head.penalty(head.routing(pooled)).detach()
    assert float(got) == pytest.approx(0.5 * variance / mean**2, abs=1e-6)
    switch = 3 * sum((u / 5) ** 2 for u in used) - 1
    assert float(got) == pytest.approx(0.5 * switch, abs=1e-6)


@pytest.mark.parametrize(
    ("routing", "expected"),
    [
        ([[1.0, 0.0, 0.0, 0.0]] * 3, 3.0),  # one takes all: K - 1
        ([[0.25] * 4], 0.0),
        # Balance is that of the batch: each sentence may have an expert to itself.
        ([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]], 0.0),
        ([[0.5, 0.5, 0.0, 0.0]], 1.0),
        ([[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1]], 4 * (0.16 * 2 + 0.01 * 2) - 1),
    ],
)
def test_the_penalty_by_hand(routing: list[list[float]], expected: float) -> None:
    head = Moe(width=2, experts=4, balance=2.0).build(4)
    routing_BK = torch.tensor(routing, requires_grad=True)
    penalty = head.penalty(routing_BK)
    assert penalty.item() == pytest.approx(2.0 * expected, abs=1e-6)
    assert penalty.item() >= 0
    penalty.backward()
    assert routing_BK.grad is not None
    share = routing_BK.detach().mean(0)
    # Every row pulls alike: 2 K (P_k - 1 / K) / B.
    slope = (2.0 * 2 * 4 * (share - 0.25) / len(routing)).expand(len(routing), 4)
    torch.testing.assert_close(routing_BK.grad, slope, rtol=0, atol=1e-6)


def test_without_balance_there_is_no_penalty() -> None:
    head = trained(balance=0.0)
    assert head.penalty(head.routing(torch.randn(5, 4))) == 0


def test_experts_start_apart_with_equal_weights() -> None:
    head = Moe(width=64, experts=4, init="random").build(32)
    assert isinstance(head, MoeHead)
    pooled = torch.randn(5, 32)
    assert torch.equal(head.routing(pooled), torch.full((5, 4), 0.25))
    assert head.penalty(head.routing(pooled)) == 0
    experts = head.project.weight.detach().view(4, 64, 32)
    limit = 1 / math.sqrt(32)  # the range of a linear layer of 32 inputs
    for k, expert in enumerate(experts):
        assert 0.95 * limit < expert.abs().max() <= limit
        assert all(not torch.allclose(expert, other) for other in experts[:k])


def test_by_default_the_mean_of_the_experts_is_the_identity() -> None:
    head = Moe(width=64, experts=4).build(32)
    assert isinstance(head, MoeHead)
    experts = head.project.weight.detach().view(4, 64, 32)
    torch.testing.assert_close(experts.mean(0), torch.eye(64)[:, :32], rtol=0, atol=1e-6)
    torch.testing.assert_close(
        head.project.bias.detach().view(4, 64).mean(0), torch.zeros(64), rtol=0, atol=1e-6
    )
    for k, expert in enumerate(experts):
        assert all(not torch.allclose(expert, other, atol=0.05) for other in experts[:k])


def test_the_gate_learns_which_expert_a_sentence_needs() -> None:
    """Two kinds of sentences need opposite maps, so one linear layer has an error of about 1."""
    head = Moe(width=1, experts=2).build(3)
    kind = torch.arange(64) % 2
    x = torch.randn(64)
    pooled = torch.stack([x, kind.float(), 1 - kind.float()], 1)
    target = torch.where(kind == 1, x, -x).unsqueeze(1)
    best = pooled @ torch.linalg.lstsq(pooled, target).solution
    assert (best - target).square().mean() > 0.8
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(300):
        routing = head.routing(pooled)
        family = torch.zeros(64, dtype=torch.int64)
        loss = (head(pooled, family) - target).square().mean() + head.penalty(routing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert head.routing(pooled).std(0).min() > 0.2


def test_the_penalty_evens_out_what_one_expert_takes() -> None:
    head = trained(balance=1.0)
    pooled = torch.rand(50, 4)
    head.gate.weight.data[0] += 5
    assert head.routing(pooled).mean(0)[0] > 0.9
    optimizer = torch.optim.Adam([head.gate.weight], lr=0.05)
    for _ in range(300):
        penalty = head.penalty(head.routing(pooled))
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
    torch.testing.assert_close(
        head.routing(pooled).mean(0), torch.full((3,), 1 / 3), rtol=0, atol=0.02
    )


@pytest.mark.parametrize(("experts", "expected"), [(4, 12_602_368), (2, 6_301_184)])
def test_parameters(experts: int, expected: int) -> None:
    with torch.device("meta"):
        head = Moe(experts=experts).build(4096)
    assert sum(p.numel() for p in head.parameters()) == expected
