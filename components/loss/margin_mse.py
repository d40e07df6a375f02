"""Distillation of how much more similar a translation is than other sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from components.embedded import Embedded
from components.interface import Loss
from components.taught import TaughtLossConfig


class MarginMse(TaughtLossConfig):
    """Let a translation lead the batch's other sentences by as much as another model says."""

    kind: Literal["margin_mse"] = "margin_mse"

    @property
    def takes_negatives(self) -> bool:
        return False

    def build(self, width: int, teachers: Mapping[str, int] | None = None) -> Loss:
        self.check_teacher(teachers)
        return MarginMseLoss(self.teacher)


class MarginMseLoss(Loss):
    """Let a translation lead the batch's other sentences by as much as another model says.

    With t_i the teacher's embedding of the pivot sentence of pair i, the loss is the mean over i of
    the mean over j != i of ``((a_i . p_i - a_i . p_j) - (1 - cos(t_i, t_j)))^2``, and the mean of
    that and of the same from translation to sentence; a pair without such j counts 0.

    Source: Hofstätter et al., 2020, Improving Efficient Neural Ranking Models with
    Cross-Architecture Knowledge Distillation, equation 5.

    Departures: all sentences of the batch are negatives, in both directions, but for those that are
    right (another recorded translation, or the same text).
    """

    def __init__(self, teacher: str) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, batch: Embedded) -> Tensor:
        target_RB = 1 - batch.taught_RB(self.teacher)
        right_R1 = (batch.anchor_RE * batch.positive_RE).sum(dim=1, keepdim=True)
        total = right_R1.new_zeros(())
        for own_RB, is_right_RB in batch.both_ways():
            compared_RB = ~is_right_RB
            error_RB = (right_R1 - own_RB - target_RB).square() * compared_RB
            total = total + (error_RB.sum(1) / compared_RB.sum(1).clamp(min=1)).mean()
        return total / 2
