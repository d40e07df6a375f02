"""Distillation of distributions against a loop and against sentence-transformers."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss
from torch import Tensor
from torch.nn.functional import normalize

from components.embedded import Embedded
from components.loss.kl_distillation import KlDistillation
from components.other_model import OtherModel
from tests.components.conftest import some_same

TEACHER = {"teacher": 5}


def batch_of(size: int, is_same: Tensor) -> Embedded:
    anchor, positive = (normalize(torch.randn(size, 8), dim=-1).requires_grad_() for _ in range(2))
    return Embedded(anchor, positive, is_same, None, {"teacher": 3 * torch.randn(size, 5)})


def distinct(size: int) -> Tensor:
    return torch.eye(size, dtype=torch.bool).repeat(2, 2)


def by_loop(batch: Embedded, temperature: float, teacher_temperature: float) -> Tensor:
    """Number by number."""
    size = len(batch.anchor_BE)
    teacher = batch.teachers["teacher"]
    terms = []
    for i in range(size):
        for back in (False, True):
            taught, own = [], []
            for j in range(size):
                row, column = (j, i) if back else (i, j)
                if j != i and batch.is_same[row, size + column]:
                    continue
                cosine = teacher[i] @ teacher[j] / (teacher[i].norm() * teacher[j].norm())
                taught.append((cosine / teacher_temperature).exp())
                own.append((batch.anchor_BE[row] @ batch.positive_BE[column] / temperature).exp())
            p = [value / sum(taught) for value in taught]
            q = [value / sum(own) for value in own]
            terms.append(sum(a * (a / b).log() for a, b in zip(p, q, strict=True)))
    return torch.stack([torch.as_tensor(term) for term in terms]).mean()


@pytest.mark.parametrize("teacher_temperature", [None, 0.5])
def test_equals_a_loop(teacher_temperature: float | None) -> None:
    batch = batch_of(6, some_same(6, 0))
    config = KlDistillation(
        teacher="teacher", temperature=0.2, teacher_temperature=teacher_temperature
    )
    got = config.build(8, TEACHER)(batch)
    expected = by_loop(batch, 0.2, teacher_temperature or 0.2)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    leaves = [batch.anchor_BE, batch.positive_BE]
    for mine, theirs in zip(
        torch.autograd.grad(got, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        assert theirs.any()
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_equals_sentence_transformers() -> None:
    batch = batch_of(4, distinct(4))
    cosine = normalize(batch.teachers["teacher"], dim=-1)
    cosine = cosine @ cosine.T
    theirs = DistillKLDivLoss(torch.nn.Module(), temperature=0.2)
    values = []
    for query, others in (
        (batch.anchor_BE, batch.positive_BE),
        (batch.positive_BE, batch.anchor_BE),
    ):
        turns = [torch.arange(4).roll(-turn) for turn in range(4)]
        labels = torch.stack([cosine[torch.arange(4), turn] for turn in turns], dim=1)
        candidates = [others[turn] for turn in turns]
        value = theirs.compute_loss_from_embeddings([query, *candidates], labels)
        values.append(value / 0.2**2)
    got = KlDistillation(teacher="teacher", temperature=0.2).build(8, TEACHER)(batch)
    torch.testing.assert_close(got, (values[0] + values[1]) / 2, rtol=0, atol=1e-6)


def test_a_student_as_similar_as_the_teacher_costs_nothing() -> None:
    side = normalize(torch.randn(6, 5), dim=-1)
    batch = Embedded(side, side, distinct(6), None, {"teacher": 2 * side})
    assert abs(KlDistillation(teacher="teacher").build(5, TEACHER)(batch).item()) < 1e-5


def test_what_it_asks_for() -> None:
    config = KlDistillation(teacher="a/b")
    assert config.teachers == (OtherModel("a/b"),)
    assert not config.takes_negatives
    with pytest.raises(KeyError, match="a/b"):
        config.build(8, TEACHER)
