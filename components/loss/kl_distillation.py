"""Distillation of which sentences are similar."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from components.embedded import Embedded
from components.interface import Loss
from components.taught import TaughtLossConfig


class KlDistillation(TaughtLossConfig):
    """Let sentences be as similar to the batch's translations as another model finds the sentences.

    Attributes:
        temperature: of the similarities of the embedding.
        teacher_temperature: of those of the teacher; None for the same.
    """

    kind: Literal["kl_distillation"] = "kl_distillation"
    temperature: float = Field(default=0.05, gt=0, le=10)
    teacher_temperature: float | None = Field(default=None, gt=0, le=10)

    @property
    def takes_negatives(self) -> bool:
        return False

    def build(self, width: int, teachers: Mapping[str, int] | None = None) -> Loss:
        self.check_teacher(teachers)
        taught = self.teacher_temperature or self.temperature
        return KlDistillationLoss(self.teacher, self.temperature, taught)


class KlDistillationLoss(Loss):
    """Let sentences be as similar to the batch's translations as another model finds the sentences.

    With t_i the teacher's embedding of the pivot sentence of pair i, ``p_i = softmax_j(cos(t_i,
    t_j) / tau_t)`` and ``q_i = softmax_j(a_i . p_j / tau)``, the loss is ``mean_i KL(p_i || q_i)``,
    and the mean of that and of the same from translation to sentence.

    Sources: Hinton et al., 2015, Distilling the Knowledge in a Neural Network, section 2; Lin et
    al., 2020, Distilling Dense Representations for Ranking using Tightly-Coupled Teachers, equation
    4 (distributions over the batch).

    Departures: both directions; no factor tau^2; other candidates that are right (another recorded
    translation, or the same text) are left out of both distributions.
    """

    def __init__(self, teacher: str, temperature: float, teacher_temperature: float) -> None:
        super().__init__()
        self.teacher = teacher
        self.temperature = temperature
        self.teacher_temperature = teacher_temperature

    def forward(self, batch: Embedded) -> Tensor:
        taught_RB = batch.taught_RB(self.teacher) / self.teacher_temperature
        forward, back = (
            _divergence(taught_RB, own_RB / self.temperature, batch.besides_own(is_right_RB))
            for own_RB, is_right_RB in batch.both_ways()
        )
        return (forward + back) / 2


def _divergence(taught_RB: Tensor, own_RB: Tensor, left_out_RB: Tensor) -> Tensor:
    """Mean divergence of the rows."""
    target_RB = torch.softmax(taught_RB.masked_fill(left_out_RB, -math.inf), dim=1)
    log_RB = torch.log_softmax(own_RB.masked_fill(left_out_RB, -math.inf), dim=1)
    # Where nothing counts, 0 * -inf must be 0.
    return F.kl_div(log_RB.masked_fill(left_out_RB, 0), target_RB, reduction="batchmean")
