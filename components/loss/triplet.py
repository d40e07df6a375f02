"""Triplet loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from components.embedded import Embedded
from components.errors import SettingError
from components.interface import Loss, LossConfig


class Triplet(LossConfig):
    """Keep each sentence's translation nearer than one negative, by a margin.

    Attributes:
        negatives: the most similar one; the most similar one that is less similar than the
            translation; or those mined for the pair, each in turn. The first two choose among the
            batch's translations and all mined negatives.
        symmetric: also from translation to sentence; for negatives of the batch only.
    """

    kind: Literal["triplet"] = "triplet"
    margin: float = Field(default=0.2, gt=0, le=2)
    distance: Literal["cosine", "euclidean"] = "cosine"
    negatives: Literal["hardest", "semi_hard", "mined"] = "hardest"
    symmetric: bool = True

    @property
    def needs_negatives(self) -> bool:
        return self.negatives == "mined"

    def build(self, width: int, teachers: Mapping[str, int] | None = None) -> Loss:
        return TripletLoss(self.margin, self.distance, self.negatives, self.symmetric)


class TripletLoss(Loss):
    """Keep each sentence's translation nearer than one negative, by a margin.

    ``mean_i max(0, d(a_i, p_i) - d(a_i, n_i) + margin)``, with ``d(a, b) = 1 - a . b`` (cosine) or
    ``|a - b|`` (euclidean). n_i is

    - hardest: the candidate nearest to a_i;
    - semi_hard: the nearest of those farther away than p_i; where all are nearer, the farthest;
    - mined: every negative mined for the pair; the mean over them stands for the pair.

    Candidates are the batch's translations and all mined negatives. Where symmetric, this is the
    mean of both directions; mined negatives have none back. A sentence without any negative costs
    nothing, and counts in the mean.

    Sources: Schroff et al., 2015, FaceNet, section 3.2 (semi-hard negatives; the fallback is that
    of its later implementations, such as sentence-transformers' BatchSemiHardTripletLoss); Faghri
    et al., 2018, VSE++, equation 6 (hardest negatives, both directions, margin 0.2).

    Departures: the distance is not squared; the one positive is the pair's own; other candidates
    that are right for the anchor, in the batch or mined by mistake, are no negatives.
    """

    def __init__(self, margin: float, distance: str, negatives: str, symmetric: bool) -> None:
        super().__init__()
        self.margin = margin
        self.distance = distance
        self.negatives = negatives
        self.symmetric = symmetric

    def forward(self, batch: Embedded) -> Tensor:
        anchor_BE, positive_BE = batch.anchor_BE, batch.positive_BE
        if self.negatives == "mined":
            return self._against_mined(batch)
        forward = self._in_batch(anchor_BE, positive_BE, batch.candidate_CE, ~batch.is_same_BC)
        if not self.symmetric:
            return forward
        different_BB = ~batch.is_same_BC[:, : len(anchor_BE)].T
        return (forward + self._in_batch(positive_BE, anchor_BE, anchor_BE, different_BB)) / 2

    def _in_batch(
        self, anchor_BE: Tensor, positive_BE: Tensor, candidate_CE: Tensor, legal_BC: Tensor
    ) -> Tensor:
        with torch.no_grad():
            # Of unit vectors, the more similar are the nearer, by either distance.
            similarity_BC = anchor_BE @ candidate_CE.T
            near_BC = similarity_BC.masked_fill(~legal_BC, -math.inf)
            index_B = near_BC.argmax(1)
            if self.negatives == "semi_hard":
                own_B = (anchor_BE * positive_BE).sum(1)
                semi_BC = near_BC.masked_fill(similarity_BC >= own_B.unsqueeze(1), -math.inf)
                farthest_B = similarity_BC.masked_fill(~legal_BC, math.inf).argmin(1)
                index_B = torch.where(semi_BC.isneginf().all(1), farthest_B, semi_BC.argmax(1))
        hinge_B = self._hinge(anchor_BE, positive_BE, candidate_CE[index_B])
        return hinge_B.where(legal_BC.any(1), 0).mean()

    def _against_mined(self, batch: Embedded) -> Tensor:
        if batch.negative_NE is None:
            raise SettingError(
                "loss.negatives",
                "is 'mined', but the batch holds no mined negatives",
                "be 'hardest' or 'semi_hard', or negatives.kind must be 'mined'",
            )
        size = len(batch.anchor_BE)
        hinge_BM = self._hinge(
            batch.anchor_BE.unsqueeze(1),
            batch.positive_BE.unsqueeze(1),
            batch.negative_NE.view(size, -1, batch.negative_NE.shape[1]),
        )
        # Of each pair, the columns of the negatives mined for it.
        own = torch.arange(size, device=hinge_BM.device)
        legal_BM = ~batch.is_same_BC[:, size:].view(size, size, -1)[own, own]
        total_B = hinge_BM.where(legal_BM, 0).sum(1)
        mean_B: Tensor = total_B / legal_BM.sum(1).clamp(min=1)
        return mean_B.mean()

    def _hinge(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        gap = self._distance(anchor, positive) - self._distance(anchor, negative)
        return F.relu(gap + self.margin)

    def _distance(self, left: Tensor, right: Tensor) -> Tensor:
        if self.distance == "cosine":
            return 1 - (left * right).sum(-1)
        # Unlike sqrt(2 - 2 cosine), this keeps its digits and its gradient where the two are equal.
        length: Tensor = torch.linalg.vector_norm(left - right, dim=-1)
        return length
