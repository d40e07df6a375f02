"""Distillation from a teacher's embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from components.embedded import Embedded
from components.interface import Loss
from components.taught import TaughtLossConfig


class Distillation(TaughtLossConfig):
    """Bring a sentence and its translation to where another model puts the sentence.

    Attributes:
        distance: mean squared error (over the dimensions too), or one minus the cosine.
    """

    kind: Literal["distillation"] = "distillation"
    distance: Literal["mse", "cosine"] = "mse"

    @property
    def may_train(self) -> bool:
        return True

    @property
    def takes_negatives(self) -> bool:
        return False

    def build(self, width: int, teachers: Mapping[str, int] | None = None) -> Loss:
        return DistillationLoss(
            self.teacher, self.distance, width, dict(teachers or {})[self.teacher]
        )


class DistillationLoss(Loss):
    """Bring a sentence and its translation to where another model puts the sentence.

    ``mean_i(d(M a_i, t_i) + d(M p_i, t_i)) / 2``, where t_i is the teacher's embedding of the
    sentence of the pivot, as a unit vector, and d is the mean squared error of the dimensions or
    one minus the cosine. Where the widths differ, M is a learned linear map from the embedding to
    the teacher's (W x E parameters), which training needs and the finished model does not;
    otherwise there is none. An embedding truncated to its first d dimensions meets the first d
    columns of M; without a map it meets the teacher's first d dimensions, again as a unit vector.

    Source: Reimers and Gurevych, 2020, Making Monolingual Sentence Embeddings Multilingual using
    Knowledge Distillation, equation 1.

    Departures: the teacher's embeddings are unit vectors, since the student's are; the map; the
    cosine. As in the authors' code, an error is a mean over the dimensions, not their sum.
    """

    def __init__(self, teacher: str, distance: str, width: int, teacher_width: int) -> None:
        super().__init__()
        self.teacher = teacher
        self.distance = distance
        self.width = width
        self.teacher_width = teacher_width
        self.map = nn.Linear(width, teacher_width, bias=False) if width != teacher_width else None

    def forward(self, batch: Embedded) -> Tensor:
        target_RW = batch.teachers[self.teacher][batch.own].to(batch.anchor_BE)
        if self.map is None:
            target_RW = target_RW[:, : batch.anchor_BE.shape[1]]
        target_RW = F.normalize(target_RW, dim=-1)
        return (
            self._distance(batch.anchor_RE, target_RW)
            + self._distance(batch.positive_RE, target_RW)
        ) / 2

    def _distance(self, emb_RE: Tensor, target_RW: Tensor) -> Tensor:
        mapped_RW = emb_RE
        if self.map is not None:
            mapped_RW = F.linear(emb_RE, self.map.weight[:, : emb_RE.shape[1]])
        if self.distance == "mse":
            return F.mse_loss(mapped_RW, target_RW)
        return (1 - F.cosine_similarity(mapped_RW, target_RW)).mean()
