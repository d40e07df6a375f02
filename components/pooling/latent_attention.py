"""Latent attention pooling."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from components.errors import SettingError
from components.interface import Pooling, PoolingConfig
from components.ragged import States, segment_sum


class LatentAttention(PoolingConfig):
    """The mean, and an MLP over tokens that attend to learned latent vectors.

    Attributes:
        hidden: 512 and not the base's width, at which the MLP of a large base would outweigh all
            else that trains: at 4096 it has 4.2 million parameters, as a linear head has 3.1.
    """

    kind: Literal["latent_attention"] = "latent_attention"
    latents: int = Field(default=32, ge=1, description="learned vectors to look up")
    heads: int = Field(default=8, ge=1, description="slices of the width, each with its weights")
    hidden: int = Field(default=512, ge=1, description="dimensions of the MLP's hidden layer")

    @property
    def trains(self) -> bool:
        return True

    def build(self, width: int) -> Pooling:
        if width % self.heads:
            raise SettingError(
                "pooling.heads", f"is {self.heads}", f"divide the base's width, {width}"
            )
        return LatentAttentionPooling(width, self.latents, self.heads, self.hidden)


class LatentAttentionPooling(Pooling):
    """The mean, and an MLP over tokens that attend to learned latent vectors.

    With z_t = LayerNorm(x_t) and R learned latents, for each head h, on its slice of the width:
    ``o_th = sum_r softmax_r(z_th . l_rh / sqrt(D / H)) l_rh``; the heads' slices are laid end to
    end, and ``pooled = mean_t(x_t + W2 gelu(W1 (z_t + o_t) + b1) + b2)``. W2 and b2 start at zero,
    where this is mean pooling exactly: what it gains over the mean, it has learned.

    R x D + 2 D + (D + 1) x hidden + (hidden + 1) x D parameters (4,338,176 for a width of 4096);
    T x H x R weights in memory.

    Source: Lee et al., 2024, NV-Embed, section 3.1.1, where token states are the queries, and one
    latent array the keys and the values, before an MLP and the mean.

    Departures: LayerNorm, the two residual connections and the start at the mean; there are no
    projections before and after the attention, as in the paper's equations (its published model
    has them); 32 latents, not 512.
    """

    statistics = None
    undecayed = ("latents_HRK",)

    def __init__(self, width: int, latents: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.width = width
        self.latents = latents
        self.heads = heads
        self.hidden = hidden
        self.norm = nn.LayerNorm(width)
        # As long as normalised states, so that the first weights are neither even nor all on one.
        self.latents_HRK = nn.Parameter(torch.randn(heads, latents, width // heads))
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, states: States) -> Tensor:
        normed_TD = self.norm(states.wide_TD)
        query_HTK = normed_TD.unflatten(1, (self.heads, -1)).transpose(0, 1)
        found_HTK = F.scaled_dot_product_attention(query_HTK, self.latents_HRK, self.latents_HRK)
        found_TD = found_HTK.transpose(0, 1).flatten(1)
        hidden_TM = F.gelu(self.up(normed_TD + found_TD))
        # The last layer is linear: after the mean it costs once a sentence instead of once a token.
        hidden_BM = segment_sum(hidden_TM, states.offsets) / states.count
        gained_BD: Tensor = self.down(hidden_BM)
        return states.mean + gained_BD
