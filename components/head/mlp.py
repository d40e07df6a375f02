"""MLP head."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from components.interface import (
    ACTIVATIONS,
    Activation,
    Head,
    StockModule,
    WideHeadConfig,
    stock_dense,
)


class Mlp(WideHeadConfig):
    """Two linear layers with an activation between them."""

    kind: Literal["mlp"] = "mlp"
    hidden: int = Field(default=2048, ge=1, description="dimensions of the hidden layer")
    activation: Activation = "relu"

    def build(self, width: int, families: Sequence[str] = ()) -> Head:
        return MlpHead(width, self.hidden, self.width, ACTIVATIONS[self.activation])


class MlpHead(Head):
    """Two linear layers with an activation between them.

    ``emb = W2 act(W1 pooled + b1) + b2``: (D + 1) x hidden + (hidden + 1) x E parameters
    (9,964,288 for 4096 -> 2048 -> 768).

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
