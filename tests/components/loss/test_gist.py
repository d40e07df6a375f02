"""The guided contrastive loss against a loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from components.embedded import Embedded
from components.loss.gist import Gist
from components.loss.info_nce import InfoNce
from components.other_model import OtherModel
from tests.components.conftest import some_same

GUIDE = {"guide": 5}
# Angles of the guide's vectors: 0 and 1 are alike at a margin of .1, and 2 is like neither.
DEGREES = torch.tensor([0.0, 20.0, 60.0, 180.0, 183.0, 270.0])


def batch_of(mined: int, guide: Tensor, is_same: Tensor) -> Embedded:
    size = len(guide)
    anchor, positive = (normalize(torch.randn(size, 8), dim=-1).requires_grad_() for _ in range(2))
    negative = normalize(torch.randn(size * mined, 8), dim=-1).requires_grad_() if mined else None
    return Embedded(anchor, positive, is_same, negative, {"guide": guide})


def fan(degrees: Tensor) -> Tensor:
    """Vectors in a plane, of different lengths."""
    radians = degrees / 180 * math.pi
    return (
        torch.stack([radians.cos(), radians.sin()], dim=1)
        * (1 + torch.arange(len(degrees)))[:, None]
    )


def by_loop(batch: Embedded, margin: float, temperature: float) -> Tensor:
    """Candidate by candidate."""
    size = len(batch.anchor_BE)
    guide = batch.teachers["guide"]

    def may_stand(i: int, j: int) -> bool:
        """Whether candidate j is a negative of anchor i."""
        if batch.is_same[i, size + j]:
            return False
        if j >= size:
            return True
        cosine = (guide[i] @ guide[j]) / (guide[i].norm() * guide[j].norm())
        return float(cosine) <= 1 - margin

    terms = []
    for i in range(size):
        right = batch.anchor_BE[i] @ batch.positive_BE[i] / temperature
        for back in (False, True):
            total = right.exp()
            for j in range(size if back else len(batch.candidate_CE)):
                row, column = (j, i) if back else (i, j)
                if j != i and may_stand(row, column):
                    value = batch.anchor_BE[row] @ batch.candidate_CE[column] / temperature
                    total = total + value.exp()
            terms.append(total.log() - right)
    return torch.stack(terms).mean()


@pytest.mark.parametrize("mined", [0, 2])
@pytest.mark.parametrize("margin", [0.01, 0.1, 0.7])
def test_equals_a_loop(margin: float, mined: int) -> None:
    batch = batch_of(mined, fan(DEGREES), some_same(6, 6 * mined))
    got = Gist(teacher="guide", margin=margin, temperature=0.2).build(8, GUIDE)(batch)
    expected = by_loop(batch, margin, 0.2)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    leaves = [batch.anchor_BE, batch.candidate_CE]
    for mine, theirs in zip(
        torch.autograd.grad(got, leaves[:1]), torch.autograd.grad(expected, leaves[:1]), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_a_guide_that_finds_nothing_alike_is_info_nce() -> None:
    batch = batch_of(1, torch.eye(6), some_same(6, 6))
    got = Gist(teacher="guide").build(8, GUIDE)(batch)
    torch.testing.assert_close(got, InfoNce().build(8)(batch))


def test_where_all_are_alike_nothing_is_told_apart() -> None:
    batch = batch_of(0, torch.ones(6, 5), torch.eye(6, dtype=torch.bool).repeat(2, 2))
    assert Gist(teacher="guide").build(8, GUIDE)(batch).item() == 0


def test_what_it_asks_for() -> None:
    assert Gist(teacher="a/b").teachers == (OtherModel("a/b"),)
    with pytest.raises(KeyError, match="a/b"):
        Gist(teacher="a/b").build(8, GUIDE)
