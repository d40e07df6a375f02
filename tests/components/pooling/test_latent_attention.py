"""Latent attention pooling against a loop over sentences, tokens, heads and latents."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from components.pooling.latent_attention import LatentAttention, LatentAttentionPooling
from components.ragged import States


def made(latents: int = 5, heads: int = 4, hidden: int = 12) -> LatentAttentionPooling:
    """A pooling away from its start at the mean."""
    pooling = LatentAttention(latents=latents, heads=heads, hidden=hidden).build(16)
    assert isinstance(pooling, LatentAttentionPooling)
    for parameter in pooling.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return pooling


def by_loop(pooling: LatentAttentionPooling, token: Tensor) -> Tensor:
    """What becomes of one token before the mean."""
    spread = ((token - token.mean()) ** 2).mean()
    normed = (token - token.mean()) / (spread + 1e-5).sqrt()
    normed = normed * pooling.norm.weight + pooling.norm.bias
    found = []
    for head, query in enumerate(normed.view(pooling.heads, -1)):
        latents = pooling.latents_HRK[head].unbind()
        exps = [(query @ latent / math.sqrt(len(query))).exp() for latent in latents]
        found.append(sum(e / sum(exps) * latent for e, latent in zip(exps, latents, strict=True)))
    hidden = pooling.up.weight @ (normed + torch.cat(found)) + pooling.up.bias
    hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    return token + pooling.down.weight @ hidden + pooling.down.bias


@pytest.mark.parametrize("heads", [1, 4, 16])
@pytest.mark.parametrize("latents", [1, 5])
def test_equals_a_loop(states: States, latents: int, heads: int) -> None:
    pooling = made(latents, heads)
    ends = states.offsets.tolist()
    rows = [
        torch.stack([by_loop(pooling, token) for token in states.values_TD[a:b]]).mean(0)
        for a, b in zip(ends[:-1], ends[1:], strict=True)
    ]
    got, want = pooling(states), torch.stack(rows)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
    weight = torch.randn_like(got)
    leaves = {"values": states.values_TD, **dict(pooling.named_parameters())}
    mine, theirs = (
        torch.autograd.grad((out * weight).sum(), list(leaves.values())) for out in (got, want)
    )
    for name, one, other in zip(leaves, mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-5, msg=f"{name}: {{}}".format)


def test_starts_as_the_mean_and_learns_with_every_parameter(states: States) -> None:
    pooling = LatentAttention().build(16)
    target = torch.randn(len(states), 16)
    optimizer = torch.optim.Adam(pooling.parameters(), lr=1e-2)
    assert torch.equal(pooling(states), states.mean)
    start = {name: p.detach().clone() for name, p in pooling.named_parameters()}
    losses = []
    for _ in range(60):
        loss = ((pooling(States(states.values_TD.detach(), states.offsets)) - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
    for name, parameter in pooling.named_parameters():
        assert not torch.equal(parameter, start[name]), name


def test_the_first_gradient_reaches_the_last_layer_alone(states: States) -> None:
    pooling = LatentAttention().build(16)
    (pooling(states) * torch.randn(len(states), 16)).sum().backward()
    reached = {n for n, p in pooling.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {"down.weight", "down.bias"}


def test_the_order_of_the_latents_and_of_the_tokens_is_nothing(states: States) -> None:
    pooling = made()
    one = States(states.values_TD[8:31], torch.tensor([0, 23]))
    before = pooling(one)
    turned = States(one.values_TD.flip(0), one.offsets)
    torch.testing.assert_close(pooling(turned), before, rtol=0, atol=1e-5)
    with torch.no_grad():
        pooling.latents_HRK.copy_(pooling.latents_HRK.flip(1))
    torch.testing.assert_close(pooling(one), before, rtol=0, atol=1e-5)


def test_states_of_great_size_stay_finite() -> None:
    values = torch.randn(6, 16)
    values[:, 3] = 1e5
    values.requires_grad_()
    pooling = made()
    pooled = pooling(States(values, torch.tensor([0, 1, 6])))
    (grad,) = torch.autograd.grad(pooled.sum(), values)
    assert pooled.isfinite().all()
    assert grad.isfinite().all()


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match=r"^pooling.heads is 3; it must divide .* 16$"):
        LatentAttention(heads=3).build(16)


@pytest.mark.parametrize("name", ["latents", "heads", "hidden"])
def test_none_of_anything_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        LatentAttention.model_validate({name: 0})


def test_counts_of_parameters() -> None:
    with torch.device("meta"):
        pooling = LatentAttention().build(4096)
    assert sum(p.numel() for p in pooling.parameters()) == 4_338_176
    sizes = {name: p.numel() for name, p in made(5, 4, 12).named_parameters()}
    assert sizes == {
        "latents_HRK": 5 * 16,
        "norm.weight": 16,
        "norm.bias": 16,
        "up.weight": 16 * 12,
        "up.bias": 12,
        "down.weight": 12 * 16,
        "down.bias": 16,
    }


def test_no_stock_module_computes_it() -> None:
    assert made().stock() is None
