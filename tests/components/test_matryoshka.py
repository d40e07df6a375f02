"""Matryoshka around every loss, against sentence-transformers and against a loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import (
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor
from torch.nn.functional import normalize

from components.config import variants
from components.embedded import Embedded
from components.interface import Loss, LossConfig
from components.loss.distillation import Distillation, DistillationLoss
from components.loss.mnrl import Mnrl
from components.matryoshka import Matryoshka, unfit_width
from tests.components.conftest import embedded

KINDS = variants("components.loss", LossConfig)
WIDTH = 12


class Given(torch.nn.Module):
    """A model of the reference library whose embeddings are given."""

    def get_embedding_dimension(self) -> int:
        return WIDTH

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": normalize(features["embedding"], dim=-1)}


@pytest.mark.parametrize("mined", [0, 1, 2])
@pytest.mark.parametrize("widths", [[4], [3, 8], [8, 5, 1]])
def test_equals_sentence_transformers(widths: list[int], mined: int) -> None:
    raw = torch.randn(2 + mined, 7, WIDTH, requires_grad=True)
    model = Given()
    theirs = MatryoshkaLoss(model, MultipleNegativesRankingLoss(model, 5.0), [WIDTH, *widths])
    expected = theirs([{"embedding": side} for side in raw], torch.empty(0))
    anchor, positive, *negatives = normalize(raw, dim=-1)
    batch = embedded(anchor, positive, torch.arange(7))
    if mined:
        negative = torch.stack(negatives, dim=1).flatten(0, 1)
        numbers = torch.arange(100, 100 + len(negative))
        batch = embedded(anchor, positive, torch.arange(7), negative, numbers)
    got = Matryoshka(Mnrl(scale=5.0).build(WIDTH), WIDTH, widths)(batch)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    mine, other = (torch.autograd.grad(value, raw, retain_graph=True)[0]
                   for value in (got, expected))  # fmt: skip
    torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)


def batch_of(teachers: dict[str, int]) -> Embedded:
    anchor, positive, negative = (
        normalize(torch.randn(6, WIDTH), dim=-1).requires_grad_() for _ in range(3)
    )
    meaning, numbers = torch.tensor([0, 1, 2, 1, 4, 0]), torch.tensor([9, 8, 7, 1, 5, 6])
    given = {name: torch.randn(6, width) for name, width in teachers.items()}
    return embedded(anchor, positive, meaning, negative, numbers, given)


@pytest.mark.parametrize("teacher_width", [WIDTH, 5])
@pytest.mark.parametrize("kind", list(KINDS))
def test_equals_the_loss_of_each_width_by_itself(kind: str, teacher_width: int) -> None:
    needed: dict[str, Any] = {
        name: field.examples[0]
        for name, field in KINDS[kind].model_fields.items()
        if field.is_required() and field.examples
    }
    config = KINDS[kind].model_validate(needed)
    assert isinstance(config, LossConfig)
    teachers = {teacher.name: teacher_width for teacher in config.teachers}
    loss = config.build(WIDTH, teachers)
    batch = batch_of(teachers)
    assert batch.negative_NE is not None
    sides = [batch.anchor_BE, batch.positive_BE, batch.negative_NE]
    terms = [loss(batch)]
    for width in (3, 7):
        cut = [
            torch.stack([row[:width] / (row[:width] ** 2).sum().sqrt() for row in side])
            for side in sides
        ]
        terms.append(loss(Embedded(cut[0], cut[1], batch.is_same, cut[2], batch.teachers)))
    expected = torch.stack(terms).sum()
    wrapped = Matryoshka(loss, WIDTH, [3, 7])
    got = wrapped(batch)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    leaves = [*sides, *wrapped.parameters()]
    mine, other = (
        torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
        for value in (got, expected)
    )
    for one, two in zip(mine, other, strict=True):
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            assert one.isfinite().all()
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_the_parameters_are_the_losss_own_and_learn_at_every_width() -> None:
    loss = Distillation(teacher="t").build(WIDTH, {"t": 5})
    assert isinstance(loss, DistillationLoss)
    assert loss.map is not None
    wrapped = Matryoshka(loss, WIDTH, [4])
    assert [id(p) for p in wrapped.parameters()] == [id(loss.map.weight)]
    batch = batch_of({"t": 5})
    whole, both = (torch.autograd.grad(part(batch), loss.map.weight)[0] for part in (loss, wrapped))
    changed = (whole - both).abs().sum(0) > 1e-6
    assert changed.tolist() == [True] * 4 + [False] * (WIDTH - 4)


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ([512], r"training\.matryoshka names 512; it must be below the embedding's width, 256$"),
        ([64, 256], r"names 256; it must be below the embedding's width, 256$"),
        ([64, 32, 64], r"training\.matryoshka names 64 twice; it must name each width once$"),
        ([0], r"training\.matryoshka names 0; it must name widths of at least 1$"),
        ([], r"training\.matryoshka is empty; it must name widths below the embedding's, 256$"),
    ],
)
def test_what_is_refused(widths: list[int], message: str) -> None:
    loss: Loss = Mnrl().build(256)
    with pytest.raises(ValueError, match=message):
        Matryoshka(loss, 256, widths)


def test_widths_that_fit_are_no_fault() -> None:
    assert unfit_width([255, 1], 256) is None
    assert unfit_width([], 256) is None
