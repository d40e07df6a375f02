"""Circle loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from components.embedded import Embedded
from components.interface import Loss, LossConfig


class Circle(LossConfig):
    """Pull translations and push others, each the harder the farther it is from its optimum."""

    kind: Literal["circle"] = "circle"
    margin: float = Field(default=0.25, gt=0, lt=1, description="the paper's relaxation factor m")
    gamma: float = Field(default=80.0, gt=0, le=1024, description="scale of the similarities")
    symmetric: bool = Field(default=True, description="also from translation to sentence")

    def build(self, width: int, teachers: Mapping[str, int] | None = None) -> Loss:
        return CircleLoss(self.margin, self.gamma, self.symmetric)


class CircleLoss(Loss):
    """Pull translations and push others, each the harder the farther it is from its optimum.

    Of an anchor with the similarities s_p to the candidates that are right for it (its own
    translation, the same text again, other recorded translations) and s_n to the others:

    ``log(1 + sum_n exp(gamma alpha_n (s_n - m)) sum_p exp(-gamma alpha_p (s_p - (1 - m))))``

    with ``alpha_n = max(0, s_n + m)`` and ``alpha_p = max(0, 1 + m - s_p)``, which pass no
    gradient. The loss is the mean over the anchors, and, where symmetric, the mean of that and of
    the same from the translations to the anchors. Mined negatives are further candidates of every
    sentence; they have no direction back. Where there is no negative, it is zero.

    Source: Sun et al., 2020, Circle Loss, equations 6 and 8; its m and gamma are 0.25 and 256 for
    faces, 0.25 and 128 for persons, and 0.4 and 80 for retrieval of images.
    """

    def __init__(self, margin: float, gamma: float, symmetric: bool) -> None:
        super().__init__()
        self.margin = margin
        self.gamma = gamma
        self.symmetric = symmetric

    def forward(self, batch: Embedded) -> Tensor:
        forward = self._one_way(batch.similarity_RC, batch.is_same_RC)
        if not self.symmetric:
            return forward
        back = self._one_way(batch.back_RB, batch.is_same_back_RB)
        return (forward + back) / 2

    def _one_way(self, similarity_RC: Tensor, same_RC: Tensor) -> Tensor:
        m = self.margin
        fixed_RC = similarity_RC.detach()
        alpha_RC = torch.where(same_RC, 1 + m - fixed_RC, fixed_RC + m).clamp(min=0)
        above_RC = similarity_RC - torch.where(same_RC, 1 - m, m)
        logit_RC = self.gamma * alpha_RC * torch.where(same_RC, -above_RC, above_RC)
        positive_R = logit_RC.masked_fill(~same_RC, -math.inf).logsumexp(1)
        negative_R = logit_RC.masked_fill(same_RC, -math.inf).logsumexp(1)
        return F.softplus(positive_R + negative_R).mean()
