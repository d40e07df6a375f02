"""Distillation against a loop and against sentence-transformers."""

from __future__ import annotations

import copy
from typing import Literal

import pytest
import torch
from pydantic import ValidationError
from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss
from torch import Tensor
from torch.nn.functional import normalize

from components.embedded import Embedded
from components.loss.distillation import Distillation, DistillationLoss
from components.other_model import OtherModel
from tests.components.conftest import embedded

Distance = Literal["mse", "cosine"]
DISTANCES: list[Distance] = ["mse", "cosine"]


def built(distance: Distance, teacher_width: int) -> DistillationLoss:
    loss = Distillation(teacher="some/model", distance=distance).build(
        8, {"other": 3, "some/model": teacher_width}
    )
    assert isinstance(loss, DistillationLoss)
    return loss


def batch_of(sides: list[Tensor], teacher: Tensor) -> Embedded:
    teachers = {"other": torch.randn(len(teacher), 3), "some/model": teacher}
    return embedded(sides[0], sides[1], torch.arange(len(teacher)), teachers=teachers)


def by_loop(
    distance: Distance, sides: list[Tensor], teacher: Tensor, weight_WE: Tensor | None
) -> Tensor:
    """Number by number; the teacher's row is cut to the width and made a unit vector."""
    terms = []
    for side in sides:
        for emb, raw in zip(side, teacher, strict=True):
            target = raw if weight_WE is not None else raw[: len(emb)]
            target = target / (target**2).sum().sqrt()
            if weight_WE is None:
                mapped = emb
            else:
                mapped = torch.stack([
                    sum((row[k] * emb[k] for k in range(len(emb))), torch.zeros(()))
                    for row in weight_WE
                ])  # fmt: skip
            if distance == "mse":
                terms.append(sum(((m - t) ** 2 for m, t in zip(mapped, target, strict=True)),
                                 torch.zeros(())) / len(target))  # fmt: skip
            else:
                length = (mapped**2).sum().sqrt()
                terms.append(1 - (mapped / length * target).sum())
    return torch.stack(terms).mean()


@pytest.mark.parametrize("width", [8, 3])  # whole, and as Matryoshka truncates it
@pytest.mark.parametrize("teacher_width", [8, 5, 11])
@pytest.mark.parametrize("distance", DISTANCES)
def test_equals_a_loop(distance: Distance, teacher_width: int, width: int) -> None:
    loss = built(distance, teacher_width)
    sides = [normalize(torch.randn(6, width), dim=-1).requires_grad_() for _ in range(2)]
    teacher = 3 * torch.randn(6, teacher_width)
    weight = None if loss.map is None else loss.map.weight
    assert (weight is None) == (teacher_width == 8)
    got = loss(batch_of(sides, teacher))
    expected = by_loop(distance, sides, teacher, weight)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    leaves = sides if weight is None else [*sides, weight]
    for mine, theirs in zip(
        torch.autograd.grad(got, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        assert theirs.any()
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
    if weight is not None:
        assert weight.shape == (teacher_width, 8)
        assert sum(p.numel() for p in loss.parameters()) == 8 * teacher_width


class Sized(torch.nn.Module):
    """All that the reference asks of its model: a width and a device."""

    device = torch.device("cpu")

    def get_embedding_dimension(self) -> int:
        return 8


@pytest.mark.parametrize("teacher_width", [8, 5])
@pytest.mark.parametrize("distance", DISTANCES)
def test_equals_sentence_transformers(distance: Distance, teacher_width: int) -> None:
    loss = built(distance, teacher_width)
    theirs = EmbedDistillLoss(
        Sized(), distance, projection_dim=None if loss.map is None else teacher_width
    )
    if loss.map is not None:
        with torch.no_grad():
            theirs.projection.weight.copy_(loss.map.weight)
            theirs.projection.bias.zero_()
    sides = [normalize(torch.randn(6, 8), dim=-1).requires_grad_() for _ in range(2)]
    teacher = normalize(torch.randn(6, teacher_width), dim=-1)
    expected = theirs.compute_loss_from_embeddings(sides, [teacher, teacher])
    got = loss(batch_of(sides, teacher))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    for mine, other in zip(
        torch.autograd.grad(got, sides), torch.autograd.grad(expected, sides), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)


def test_hand_written_numbers() -> None:
    # Distances of the pair's two sides to the teacher's (1, 0): 0 and, at a right angle, |(1, -1)|.
    sides = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])]
    batch = batch_of(sides, torch.tensor([[5.0, 0.0]]))
    for distance, expected in (("mse", (0 + 2 / 2) / 2), ("cosine", (0 + 1) / 2)):
        config = Distillation.model_validate({"teacher": "some/model", "distance": distance})
        assert config.build(2, {"some/model": 2})(batch).item() == pytest.approx(expected)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_student_at_the_teacher_costs_nothing(distance: Distance) -> None:
    teacher = torch.randn(6, 8)
    side = normalize(teacher, dim=-1)
    assert abs(built(distance, 8)(batch_of([side, side], teacher)).item()) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_teacher_of_another_precision_is_taken_in_the_students(dtype: torch.dtype) -> None:
    sides = [normalize(torch.randn(6, 8), dim=-1) for _ in range(2)]
    teacher = torch.randn(6, 8).to(dtype)
    loss = built("mse", 8)
    value = loss(batch_of(sides, teacher))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(batch_of(sides, teacher.float())))


def test_the_map_learns_to_reach_the_teacher() -> None:
    # With the embeddings fixed and fewer pairs than dimensions, a linear map can fit exactly.
    loss = built("mse", 5)
    side = normalize(torch.randn(4, 8), dim=-1)
    batch = batch_of([side, side], torch.randn(4, 5))
    start = copy.deepcopy(loss)(batch).item()
    optimizer = torch.optim.LBFGS(loss.parameters(), max_iter=100)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value: Tensor = loss(batch)
        value.backward()
        return value

    optimizer.step(closure)
    assert loss(batch).item() < 1e-3 * start


def test_what_it_asks_for() -> None:
    config = Distillation(teacher="some/model")
    assert config.teachers == (OtherModel("some/model"),)
    assert not config.takes_negatives
    assert not config.needs_negatives
    with pytest.raises(ValidationError, match="Field required"):
        Distillation.model_validate({})
    with pytest.raises(ValidationError, match="at least 1 character"):
        Distillation(teacher="")
    with pytest.raises(KeyError, match="some/model"):
        config.build(8, {"other": 3})
