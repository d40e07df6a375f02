"""The head that is none."""

from __future__ import annotations

import torch

from components.head.identity import Identity


def test_the_embedding_is_the_pooled_vector() -> None:
    config = Identity()
    head = config.build(16, ["latin", "cjk"])
    assert config.out(16) == 16
    pooled = torch.randn(3, 16, requires_grad=True)
    got = head(pooled, torch.tensor([0, 1, 2]))
    assert torch.equal(got, pooled)
    weight = torch.randn(3, 16)
    (gradient,) = torch.autograd.grad((got * weight).sum(), pooled)
    assert torch.equal(gradient, weight)


def test_nothing_trains_and_an_export_needs_nothing() -> None:
    head = Identity().build(16)
    assert list(head.parameters()) == []
    assert head.stock() == []


def test_a_width_cannot_be_chosen() -> None:
    assert set(Identity.model_fields) == {"kind"}
