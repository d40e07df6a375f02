"""Multiple negatives ranking loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from components.embedded import Embedded
from components.errors import SettingError
from components.interface import Loss, LossConfig

Direction = Literal["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"]


class Mnrl(LossConfig):
    """Rank each sentence's translation above other sentences, in any of four directions.

    Attributes:
        directions: what the denominator holds; a query is a sentence of the pivot, a doc a
            translation or a mined negative.
        partition: one softmax over all directions, or the mean of one each.
    """

    kind: Literal["mnrl"] = "mnrl"
    scale: float = Field(default=20.0, gt=0, le=1000, description="of the cosine: 1 / temperature")
    directions: list[Direction] = Field(default=["query_to_doc"])
    partition: Literal["joint", "per_direction"] = "joint"

    @field_validator("directions")
    @classmethod
    def _hold_the_pair(cls, directions: list[Direction]) -> list[Direction]:
        if "query_to_doc" not in directions:
            raise SettingError(
                "loss.directions",
                f"is {directions}",
                "hold 'query_to_doc', which compares the pair itself",
            )
        for direction in directions:
            if directions.count(direction) > 1:
                raise SettingError(
                    "loss.directions", f"holds {direction!r} twice", "hold each direction once"
                )
        return directions

    @field_validator("partition")
    @classmethod
    def _every_softmax_holds_the_pair(cls, partition: str, info: ValidationInfo) -> str:
        if partition == "per_direction":
            for direction in info.data.get("directions", []):
                if direction in ("query_to_query", "doc_to_doc"):
                    raise SettingError(
                        "loss.partition",
                        f"is 'per_direction', but {direction!r} never holds the pair itself",
                        "be 'joint'",
                    )
        return partition

    def build(self, width: int, teachers: Mapping[str, int] | None = None) -> Loss:
        return MnrlLoss(self.scale, list(self.directions), self.partition)


class MnrlLoss(Loss):
    """Rank each sentence's translation above other sentences, in any of four directions.

    The loss is ``mean_i(log Z_i - scale a_i . p_i)``. Z_i is the sum of ``exp(scale s)`` over these
    similarities s:

    - query_to_doc: ``a_i . c_j``, of the translations and the mined negatives c of all pairs;
    - doc_to_query: ``p_i . a_j``, of all pairs;
    - query_to_query: ``a_i . a_j``, of the other pairs;
    - doc_to_doc: ``p_i . c_j``, of the translations and the mined negatives of the other pairs.

    A joint partition adds up the sums of all directions, so that with doc_to_query the pair itself
    counts twice; otherwise ``log Z_i`` is the mean of their logarithms. With both query_to_doc and
    doc_to_query the latter is symmetric InfoNCE at temperature ``1 / scale``.

    Sources: Henderson et al., 2017, Efficient Natural Language Response Suggestion, section 4.4;
    Li et al., 2023, Towards General Text Embeddings with Multi-stage Contrastive Learning (all
    four directions); sentence-transformers 6.2, MultipleNegativesRankingLoss.

    Departure: a sentence that is the same as an anchor's translation, or another recorded
    translation of it, is left out of the denominator; the same holds from translation to anchor.
    Where sentences of one side are compared, those that are right for the pair are left out, too.
    """

    def __init__(self, scale: float, directions: list[str], partition: str) -> None:
        super().__init__()
        self.scale = scale
        self.directions = directions
        self.partition = partition

    def forward(self, batch: Embedded) -> Tensor:
        size = len(batch.anchor_BE)
        place_R1 = batch.place_R.unsqueeze(1)
        score_RC = self._score(batch.similarity_RC, batch.besides_own(batch.is_same_RC))
        compared = [score_RC]
        if "doc_to_query" in self.directions:
            without_RB = batch.besides_own(batch.is_same_back_RB)
            compared.append(self._score(batch.back_RB, without_RB))
        if "query_to_query" in self.directions:
            same_RB = batch.is_same_anchor_RB | batch.is_same_back_RB
            compared.append(self._score(batch.anchor_RE @ batch.anchor_BE.T, same_RB))
        if "doc_to_doc" in self.directions:
            pair_C = torch.arange(size, device=place_R1.device)
            mined = len(batch.candidate_CE) // size - 1
            pair_C = torch.cat([pair_C, pair_C.repeat_interleave(mined)])
            same_RC = batch.is_same_positive_RC | batch.is_same_RC
            similarity_RC = batch.positive_RE @ batch.candidate_CE.T
            compared.append(self._score(similarity_RC, same_RC | (pair_C == place_R1)))
        if self.partition == "joint":
            log_z_R = torch.cat(compared, dim=1).logsumexp(1)
        else:
            log_z_R = torch.stack([side.logsumexp(1) for side in compared]).mean(0)
        return (log_z_R - score_RC.gather(1, place_R1).squeeze(1)).mean()

    def _score(self, similarity_RC: Tensor, without_RC: Tensor) -> Tensor:
        return (self.scale * similarity_RC).masked_fill(without_RC, -math.inf)
