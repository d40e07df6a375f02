"""Attention pooling."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from components.errors import SettingError
from components.interface import Pooling, PoolingConfig
from components.ragged import States, segment_softmax, segment_sum


class Attention(PoolingConfig):
    """A mean whose weights come from a learned query."""

    kind: Literal["attention"] = "attention"
    heads: int = Field(default=1, ge=1, description="slices of the width, each with its weights")

    @property
    def trains(self) -> bool:
        return True

    def build(self, width: int) -> Pooling:
        if width % self.heads:
            raise SettingError(
                "pooling.heads", f"is {self.heads}", f"divide the base's width, {width}"
            )
        return AttentionPooling(width, self.heads)


class AttentionPooling(Pooling):
    """A weighted mean of the token states; the weights come from a learned query.

    For each head h, on its slice of the width: ``a_t = softmax_t(q_h . x_th / sqrt(D / H))`` and
    ``pooled_h = sum_t a_t x_th``; the heads' slices are laid end to end. The query is the only
    parameter (D numbers for any H) and starts at zero, where this is mean pooling exactly: what it
    gains over the mean, it has learned.

    Source: Yang et al., 2016, Hierarchical Attention Networks, section 2.2 (a learned context
    vector), without its projection of the keys.
    """

    statistics = None
    undecayed = ("query_HK",)

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.heads = heads
        self.query_HK = nn.Parameter(torch.zeros(heads, width // heads))

    def forward(self, states: States) -> Tensor:
        values_THK = states.wide_TD.view(-1, *self.query_HK.shape)
        scores_TH = (values_THK * self.query_HK).sum(-1) / self.query_HK.shape[1] ** 0.5
        weights_TH = segment_softmax(scores_TH, states.offsets)
        return segment_sum((values_THK * weights_TH.unsqueeze(-1)).flatten(1), states.offsets)
