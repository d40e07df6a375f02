"""MLP head."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from components.interface import Head
from components.projection import Init, WideHeadConfig, kept_directions
from components.stock import ACTIVATIONS, Activation, StockModule, stock_dense

# Slope at which tanh starts: 0.1 x lies where tanh is linear for inputs of the size of states.
TANH_SLOPE = 0.1


class Mlp(WideHeadConfig):
    """Two linear layers with an activation between them."""

    kind: Literal["mlp"] = "mlp"
    hidden: int = Field(default=2048, ge=1, description="dimensions of the hidden layer")
    activation: Activation = Field(default="relu", description="after the hidden layer")

    def build(self, width: int, families: Sequence[str] = ()) -> Head:
        head = MlpHead(width, self.hidden, self.out(width), ACTIVATIONS[self.activation])
        start_mirrored(head, self.init)
        return head


class MlpHead(Head):
    """Two linear layers with an activation between them.

    ``emb = W2 act(W1 pooled + b1) + b2``: (D + 1) x hidden + (hidden + 1) x E parameters
    (9,964,288 for 4096 -> 2048 -> 768).

    By default it starts as the identity, or as a projection onto K orthonormal directions, K =
    min(D, hidden / 2, E); see `start_mirrored`. With ``hidden`` below twice the base's width or the
    embedding's, it therefore starts worse than the base: MiniLM (384 wide) loses .06 of accuracy
    with a hidden layer of 256.

    Source: Chen et al., 2020, SimCLR, section 4.2 (a non-linear projection before the loss).
    """

    def __init__(self, width: int, hidden: int, out: int, activation: str) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.activation: nn.Module = getattr(nn, activation)()
        self.down = nn.Linear(hidden, out)

    def forward(self, pooled_BD: Tensor, family_B: Tensor) -> Tensor:
        projected: Tensor = self.down(self.activation(self.up(pooled_BD)))
        return projected

    def stock(self) -> list[StockModule]:
        activation = type(self.activation).__name__
        return [stock_dense(self.up, activation), stock_dense(self.down, "Identity")]


@torch.no_grad()
def start_mirrored(head: MlpHead, init: Init) -> None:
    """Set initial weights at which the head is linear and keeps the base's space.

    Hidden units k and K + k see ``p_k x`` and ``-p_k x`` for orthonormal rows p_k, and the output
    is their difference: ``act(z) - act(-z) = z`` for ReLU, GELU and SiLU exactly, and ``2 tanh(s z)
    = 2 s z`` nearly, for a small slope s. All other hidden units keep their random input weights
    and start with output weights of zero. With ``random``, nothing is set.

    Source: Zagoruyko and Komodakis, 2017, DiracNets, section 3 (a layer that starts as an
    identity); the pairs of opposite sign are those of Shang et al., 2016, CReLU, section 2.
    """
    out, hidden = head.down.weight.shape
    width = head.up.weight.shape[1]
    count = min(width, hidden // 2, out)
    if init == "random" or not count:
        return
    slope, gain = (TANH_SLOPE, 2.0) if isinstance(head.activation, nn.Tanh) else (1.0, 1.0)
    rows_KD = slope * kept_directions(count, width, init)
    head.up.weight[: 2 * count] = torch.cat([rows_KD, -rows_KD])
    head.up.bias[: 2 * count] = 0.0
    head.down.weight.zero_()
    one_KK = torch.eye(count) / (slope * gain)
    head.down.weight[:count, : 2 * count] = torch.cat([one_KK, -one_KK], dim=1)
    head.down.bias.zero_()
