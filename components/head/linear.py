"""Linear head."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from components.interface import Head
from components.projection import WideHeadConfig, start_linear
from components.stock import StockModule, stock_dense


class Linear(WideHeadConfig):
    """One linear layer."""

    kind: Literal["linear"] = "linear"
    bias: bool = Field(default=True, description="add a learned vector to the projection")

    @property
    def ignores_scale(self) -> bool:
        return not self.bias

    def build(self, width: int, families: Sequence[str] = ()) -> Head:
        head = LinearHead(width, self.out(width), self.bias)
        start_linear(head.linear, self.init)
        return head


class LinearHead(Head):
    """One linear layer from the base's width D to the embedding's E.

    ``emb = W pooled + b``: D x E + E parameters (3,146,496 for 4096 -> 768). By default W starts
    as the identity (see `components.projection`), where the embedding is the pooled vector.

    Source: Reimers and Gurevych, 2019, Sentence-BERT (the Dense module of its library).
    """

    def __init__(self, width: int, out: int, bias: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(width, out, bias=bias)

    def forward(self, pooled_BD: Tensor, family_B: Tensor) -> Tensor:
        projected: Tensor = self.linear(pooled_BD)
        return projected

    def stock(self) -> list[StockModule]:
        return [stock_dense(self.linear, "Identity")]
