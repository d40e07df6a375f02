"""Triplet loss against sentence-transformers, and against a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import (
    BatchHardTripletLoss,
    BatchHardTripletLossDistanceFunction,
    BatchSemiHardTripletLoss,
    TripletDistanceMetric,
)
from sentence_transformers.sentence_transformer.losses import TripletLoss as TheirTripletLoss
from torch import Tensor
from torch.nn.functional import normalize

from components.embedded import Embedded
from components.loss.triplet import Triplet
from tests.components.conftest import embedded, some_same

Distance = Literal["cosine", "euclidean"]
InBatch = Literal["hardest", "semi_hard"]
DISTANCES: list[Distance] = ["cosine", "euclidean"]
IN_BATCH: list[InBatch] = ["hardest", "semi_hard"]

MEANING = [0, 1, 2, 1, 4, 0]
# Two a pair; the fourth and the last repeat sentences of the batch, and so do both of pair 4.
MINED = [10, 11, 12, 1, 14, 15, 16, 17, 4, 4, 20, 2]


def close(got: Tensor, expected: Tensor, sides: list[Tensor]) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    mine, theirs = (
        torch.autograd.grad(value, sides, retain_graph=True) for value in (got, expected)
    )
    for one, other in zip(mine, theirs, strict=True):
        assert other.any()
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mined", [1, 2])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_mined_negatives_equal_sentence_transformers(
    distance: Distance, margin: float, mined: int
) -> None:
    # Gradients of the vectors before they are made unit ones, as theirs makes them so once more.
    raw = torch.randn(2 + mined, 20, 8, requires_grad=True)
    anchor, positive, *negatives = normalize(raw, dim=-1)
    metric = getattr(TripletDistanceMetric, distance.upper())
    theirs = TheirTripletLoss(torch.nn.Identity(), metric, margin)
    expected = torch.stack([
        theirs.compute_loss_from_embeddings([anchor, positive, negative], torch.empty(0))
        for negative in negatives
    ]).mean()  # fmt: skip
    negative = torch.stack(negatives, dim=1).flatten(0, 1)
    numbers = torch.arange(100, 100 + len(negative))
    batch = embedded(anchor, positive, torch.arange(20), negative, numbers)
    loss = Triplet(margin=margin, distance=distance, negatives="mined").build(8)
    close(loss(batch), expected, [raw])


def across(distance: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A distance that puts the sentences of one side far away from each other.

    Theirs takes every other sentence of the batch for a negative, ours only those of the other
    side, which it is to rank. Far away, those of the same side are never the nearest.
    """

    def matrix(both: Tensor) -> Tensor:
        half = len(both) // 2
        side = torch.arange(len(both)) < half
        same_side = (side.unsqueeze(0) == side.unsqueeze(1)) & ~torch.eye(len(both)).bool()
        return distance(both).masked_fill(same_side, 10.0)

    return matrix


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("negatives", IN_BATCH)
def test_in_batch_negatives_equal_sentence_transformers(
    negatives: InBatch, distance: Distance
) -> None:
    raw = torch.randn(20, 8)
    raw = torch.cat([raw, raw + 0.6 * torch.randn(20, 8)]).requires_grad_()
    both = normalize(raw, dim=-1)
    anchor, positive = both.chunk(2)
    similarity = anchor @ positive.T
    # Where all are nearer than the translation, theirs takes the farthest: one of the same side,
    # by the distance above. So every row and column here has one that is farther.
    assert (similarity.min(0).values < similarity.diagonal()).all()
    assert (similarity.min(1).values < similarity.diagonal()).all()
    metric = across(
        {
            "cosine": BatchHardTripletLossDistanceFunction.cosine_distance,
            "euclidean": BatchHardTripletLossDistanceFunction.euclidean_distance,
        }[distance]
    )
    theirs = {"hardest": BatchHardTripletLoss, "semi_hard": BatchSemiHardTripletLoss}[negatives](
        torch.nn.Identity(), metric, margin=0.3
    )
    meaning = torch.arange(20)
    expected = theirs.compute_loss_from_embeddings([both], meaning.repeat(2))
    loss = Triplet(margin=0.3, distance=distance, negatives=negatives, symmetric=True).build(8)
    close(loss(embedded(anchor, positive, meaning)), expected, [raw])


def chosen(kind: str, positive: Tensor, negatives: list[Tensor]) -> Tensor:
    """The distance of the negative that counts, by its definition."""
    ordered = sorted(negatives, key=lambda distance: distance.item())
    if kind == "semi_hard":
        return next((d for d in ordered if d > positive), ordered[-1])
    return ordered[0]


def by_loop(config: Triplet, batch: Embedded) -> Tensor:
    """Triplet by triplet, from a list of the sentences that are not the anchor's."""

    def distance(left: Tensor, right: Tensor) -> Tensor:
        if config.distance == "cosine":
            return 1 - torch.dot(left, right)
        return ((left - right) ** 2).sum().sqrt()

    assert batch.negative_NE is not None
    size, same = len(batch.anchor_BE), batch.is_same.tolist()
    directions = [(batch.anchor_BE, batch.positive_BE, True)]
    if config.symmetric and config.negatives != "mined":
        directions.append((batch.positive_BE, batch.anchor_BE, False))
    total = torch.zeros(())
    for here, there, forward in directions:
        for i in range(size):
            pair = distance(here[i], there[i])
            own = range(2 * i, 2 * i + 2) if config.negatives == "mined" else range(2 * size)
            away = [
                distance(here[i], batch.negative_NE[n])
                for n in own
                if forward and not same[i][2 * size + n]
            ]
            if config.negatives == "mined":
                for one in away:
                    total = total + torch.relu(pair - one + config.margin) / len(away)
                continue
            right = [same[i][size + j] if forward else same[size + i][j] for j in range(size)]
            away += [distance(here[i], there[j]) for j in range(size) if not right[j]]
            if away:
                one = chosen(config.negatives, pair, away)
                total = total + torch.relu(pair - one + config.margin)
    return total / size / len(directions)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("negatives", [*IN_BATCH, "mined"])
def test_repeated_sentences_equal_a_loop(
    negatives: Literal["hardest", "semi_hard", "mined"], distance: Distance, symmetric: bool
) -> None:
    config = Triplet(margin=0.5, distance=distance, negatives=negatives, symmetric=symmetric)
    for _ in range(5):
        sides = [normalize(torch.randn(n, 4), dim=-1).requires_grad_() for n in (6, 6, 12)]
        numbers = (torch.tensor(MEANING), torch.tensor(MINED))
        batch = embedded(sides[0], sides[1], numbers[0], sides[2], numbers[1])
        close(config.build(4)(batch), by_loop(config, batch), sides)
        batch = Embedded(sides[0], sides[1], some_same(6, 12), sides[2])
        close(config.build(4)(batch), by_loop(config, batch), sides)


def circle(*degrees: float) -> Tensor:
    angle = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_hand_written_numbers() -> None:
    # The anchors at 0 and 180 degrees; cosines of the first with the candidates: its translation
    # 0.5, then -0.5, and the mined ones 0.866, 0, 0.5 (a repetition of it), 1.
    anchor, positive = circle(0, 180), circle(60, 120)
    mined, numbers = circle(30, 90, 60, 0), torch.tensor([10, 11, 0, 13])
    batch = embedded(anchor, positive, torch.tensor([0, 1]), mined, numbers)

    def cost(negatives: Literal["hardest", "semi_hard", "mined"]) -> float:
        value = Triplet(margin=0.6, negatives=negatives, symmetric=False).build(2)(batch)
        return float(value)

    # The second anchor's cosines: translation 0.5; -0.5, -0.866, 0, -0.5 and -1.
    assert cost("hardest") == pytest.approx(((1 - 0.5 + 0.6) + (0 - 0.5 + 0.6)) / 2, abs=1e-6)
    assert cost("semi_hard") == pytest.approx(((0 - 0.5 + 0.6) + (0 - 0.5 + 0.6)) / 2, abs=1e-6)
    # Of pair 0 the two at 30 and 90 degrees, of pair 1 those at 60 and 0, far enough away.
    of_the_first = ((0.8660254 - 0.5 + 0.6) + (0 - 0.5 + 0.6)) / 2
    assert cost("mined") == pytest.approx(of_the_first / 2, abs=1e-6)


def test_where_all_are_nearer_semi_hard_takes_the_farthest() -> None:
    anchor, positive = circle(0, 20), circle(90, 340)
    batch = embedded(anchor, positive, torch.tensor([0, 1]), circle(50, 200), torch.tensor([2, 2]))
    near = embedded(anchor, positive, torch.tensor([0, 1]), circle(50, 30), torch.tensor([2, 2]))
    loss = Triplet(margin=0.1, negatives="semi_hard", symmetric=False).build(2)
    cosine = torch.cos(torch.deg2rad(torch.tensor([50.0, 10.0, 40.0]))).tolist()
    # To the anchor at 0, those at 340, 50 and 30 are nearer than its translation at 90: the
    # farthest is at 50. The anchor at 20 has its translation at 340; that at 50 is nearer, that at
    # 30 too, but 90 is farther away.
    second = max(0, torch.cos(torch.deg2rad(torch.tensor(70.0))).item() - cosine[2] + 0.1)
    assert loss(near).item() == pytest.approx((cosine[0] + 0.1 + second) / 2, abs=1e-6)
    # With one at 200, that is farther than the translation, and by more than the margin.
    assert loss(batch).item() == pytest.approx(second / 2, abs=1e-6)


@pytest.mark.parametrize("negatives", IN_BATCH)
@pytest.mark.parametrize("distance", DISTANCES)
def test_without_any_negative_it_costs_nothing(negatives: InBatch, distance: Distance) -> None:
    anchor, positive = (normalize(torch.randn(3, 8), dim=-1).requires_grad_() for _ in range(2))
    loss = Triplet(margin=2.0, distance=distance, negatives=negatives).build(8)
    value = loss(embedded(anchor, positive, torch.tensor([7, 7, 7])))
    assert value.item() == 0.0
    for grad in torch.autograd.grad(value, (anchor, positive)):
        assert not grad.any()


def test_mined_negatives_that_are_not_there_are_missed() -> None:
    config = Triplet(negatives="mined")
    assert config.needs_negatives
    assert not Triplet(negatives="semi_hard").needs_negatives
    anchor = torch.eye(2)
    message = (
        r"loss\.negatives is 'mined', but the batch holds no mined negatives; it must be "
        r"'hardest' or 'semi_hard', or negatives\.kind must be 'mined'"
    )
    with pytest.raises(ValueError, match=message):
        config.build(2)(embedded(anchor, anchor, torch.arange(2)))
