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
    margin: float = Field(
        default=0.2, gt=0, le=2, description="by how much a negative must be farther away"
    )
    distance: Literal["cosine", "euclidean"] = Field(
        default="cosine", description="between two embeddings"
    )
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
        if self.negatives == "mined":
            return self._against_mined(batch)
        anchor_RE, positive_RE = batch.anchor_RE, batch.positive_RE
        forward = self._in_batch(
            anchor_RE, positive_RE, batch.candidate_CE, batch.similarity_RC, ~batch.is_same_RC
        )
        if not self.symmetric:
            return forward
        back = self._in_batch(
            positive_RE, anchor_RE, batch.anchor_BE, batch.back_RB, ~batch.is_same_back_RB
        )
        return (forward + back) / 2

    def _in_batch(
        self,
        anchor_RE: Tensor,
        positive_RE: Tensor,
        candidate_CE: Tensor,
        similarity_RC: Tensor,
        legal_RC: Tensor,
    ) -> Tensor:
        with torch.no_grad():
            # Of unit vectors, the more similar are the nearer, by either distance.
            near_RC = similarity_RC.masked_fill(~legal_RC, -math.inf)
            index_R = near_RC.argmax(1)
            if self.negatives == "semi_hard":
                own_R = (anchor_RE * positive_RE).sum(1)
                semi_RC = near_RC.masked_fill(similarity_RC >= own_R.unsqueeze(1), -math.inf)
                farthest_R = similarity_RC.masked_fill(~legal_RC, math.inf).argmin(1)
                index_R = torch.where(semi_RC.isneginf().all(1), farthest_R, semi_RC.argmax(1))
        hinge_R = self._hinge(anchor_RE, positive_RE, candidate_CE[index_R])
        return hinge_R.where(legal_RC.any(1), 0).mean()

    def _against_mined(self, batch: Embedded) -> Tensor:
        if batch.negative_NE is None:
            raise SettingError(
                "loss.negatives",
                "is 'mined', but the batch holds no mined negatives",
                "be 'hardest' or 'semi_hard', or negatives.kind must be 'mined'",
            )
        size, place_R = len(batch.anchor_BE), batch.place_R
        hinge_RM = self._hinge(
            batch.anchor_RE.unsqueeze(1),
            batch.positive_RE.unsqueeze(1),
            batch.negative_NE.view(size, -1, batch.negative_NE.shape[1])[batch.own],
        )
        # Of each pair, the columns of the negatives mined for it.
        own = len(place_R)
        same_RBM = batch.is_same_RC[:, size:].view(own, size, -1)
        legal_RM = ~same_RBM[torch.arange(own, device=place_R.device), place_R]
        total_R = hinge_RM.where(legal_RM, 0).sum(1)
        mean_R: Tensor = total_R / legal_RM.sum(1).clamp(min=1)
        return mean_R.mean()

    def _hinge(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        gap = self._distance(anchor, positive) - self._distance(anchor, negative)
        return F.relu(gap + self.margin)

    def _distance(self, left: Tensor, right: Tensor) -> Tensor:
        if self.distance == "cosine":
            return 1 - (left * right).sum(-1)
        # Unlike sqrt(2 - 2 cosine), this keeps its digits and its gradient where the two are equal.
        length: Tensor = torch.linalg.vector_norm(left - right, dim=-1)
        return length
