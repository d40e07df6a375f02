"""Distillation of margins against a loop and against sentence-transformers."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MarginMSELoss
from torch import Tensor
from torch.nn.functional import normalize

from components.embedded import Embedded
from components.loss.margin_mse import MarginMse
from components.other_model import OtherModel
from tests.components.conftest import some_same

TEACHER = {"teacher": 5}


def batch_of(size: int, is_same: Tensor) -> Embedded:
    anchor, positive = (normalize(torch.randn(size, 8), dim=-1).requires_grad_() for _ in range(2))
    return Embedded(anchor, positive, is_same, None, {"teacher": 3 * torch.randn(size, 5)})


def distinct(size: int) -> Tensor:
    return torch.eye(size, dtype=torch.bool).repeat(2, 2)


def test_equals_a_loop() -> None:
    batch = batch_of(6, some_same(6, 0))
    teacher = normalize(batch.teachers["teacher"], dim=-1)
    means, compared = [], 0
    for i in range(6):
        right = batch.anchor_BE[i] @ batch.positive_BE[i]
        for back in (False, True):
            errors = []
            for j in range(6):
                row, column = (j, i) if back else (i, j)
                if not batch.is_same[row, 6 + column]:
                    margin = right - batch.anchor_BE[row] @ batch.positive_BE[column]
                    errors.append((margin - (1 - teacher[i] @ teacher[j])) ** 2)
            compared += len(errors)
            means.append(torch.stack(errors).mean())
    assert compared < 60
    expected = torch.stack(means).mean()
    got = MarginMse(teacher="teacher").build(8, TEACHER)(batch)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    leaves = [batch.anchor_BE, batch.positive_BE]
    for mine, theirs in zip(
        torch.autograd.grad(got, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        assert theirs.any()
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_equals_sentence_transformers() -> None:
    batch = batch_of(4, distinct(4))
    teacher = normalize(batch.teachers["teacher"], dim=-1)
    margins = 1 - teacher @ teacher.T
    theirs = MarginMSELoss(torch.nn.Module(), similarity_fct=lambda a, b: (a * b).sum(-1))
    values = []
    for query, others in (
        (batch.anchor_BE, batch.positive_BE),
        (batch.positive_BE, batch.anchor_BE),
    ):
        turns = [torch.arange(4).roll(-turn) for turn in range(1, 4)]
        labels = torch.stack([margins[torch.arange(4), turn] for turn in turns], dim=1)
        sides = [query, others, *(others[turn] for turn in turns)]
        values.append(theirs.compute_loss_from_embeddings(sides, labels))
    got = MarginMse(teacher="teacher").build(8, TEACHER)(batch)
    torch.testing.assert_close(got, (values[0] + values[1]) / 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3])
def test_a_batch_of_one_sentence_costs_nothing(size: int) -> None:
    batch = batch_of(size, torch.ones(2 * size, 2 * size, dtype=torch.bool))
    got = MarginMse(teacher="teacher").build(8, TEACHER)(batch)
    assert got.item() == 0
    got.backward()
    assert batch.anchor_BE.grad is not None
    assert not batch.anchor_BE.grad.any()


def test_what_it_asks_for() -> None:
    config = MarginMse(teacher="a/b")
    assert config.teachers == (OtherModel("a/b"),)
    assert not config.takes_negatives
    with pytest.raises(KeyError, match="a/b"):
        config.build(8, TEACHER)
