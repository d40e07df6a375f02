"""A contrastive loss without the negatives that a guide takes for translations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from components.embedded import Embedded
from components.interface import Loss
from components.taught import TaughtLossConfig


class Gist(TaughtLossConfig):
    """Tell each sentence's translation from the others of the batch, but for false negatives.

    Attributes:
        margin: the guide (``teacher``) takes two pairs for the same where the cosine of their pivot
            sentences is above one minus this.
    """

    kind: Literal["gist"] = "gist"
    margin: float = Field(default=0.1, gt=0, le=1)
    temperature: float = Field(
        default=0.05, gt=0, le=10, description="similarities are divided by it"
    )

    def build(self, width: int, teachers: Mapping[str, int] | None = None) -> Loss:
        self.check_teacher(teachers)
        return GistLoss(self.teacher, self.margin, self.temperature)


class GistLoss(Loss):
    """Tell each sentence's translation from the others of the batch, but for false negatives.

    With ``s_ij = a_i . p_j / tau``, the loss is ``mean_i(-log softmax_j(s_ij)[i])``, and the mean
    of that and of the same over columns. Candidate j of anchor i is left out where
    ``cos(t_i, t_j) > 1 - margin``; t_i is the guide's embedding of the pivot sentence of pair i.

    Source: Solatorio, 2024, GISTEmbed, section 3.2; the margin as in sentence-transformers'
    `GISTEmbedLoss` (``margin_strategy="absolute"``).

    Departures: the guide sees the pivot's sentences alone, to which a translation is as similar as
    they are to themselves: the threshold is 1 - margin for every anchor, and the guide need not
    know the other languages. Anchors are told from translations only, not from each other. Other
    candidates that are right (another recorded translation, or the same text) are left out too;
    the guide does not judge mined negatives, which have no direction back.
    """

    def __init__(self, teacher: str, margin: float, temperature: float) -> None:
        super().__init__()
        self.teacher = teacher
        self.margin = margin
        self.temperature = temperature

    def forward(self, batch: Embedded) -> Tensor:
        alike_RB = batch.taught_RB(self.teacher) > 1 - self.margin
        forward = self._one_way(batch, batch.similarity_RC, batch.is_same_RC, alike_RB)
        back = self._one_way(batch, batch.back_RB, batch.is_same_back_RB, alike_RB)
        return (forward + back) / 2

    def _one_way(
        self, batch: Embedded, similarity_RC: Tensor, is_right_RC: Tensor, alike_RB: Tensor
    ) -> Tensor:
        left_out_RC = is_right_RC.clone()
        left_out_RC[:, : alike_RB.shape[1]] |= alike_RB
        logits_RC = similarity_RC / self.temperature
        logits_RC = logits_RC.masked_fill(batch.besides_own(left_out_RC), -math.inf)
        return F.cross_entropy(logits_RC, batch.place_R)
