"""Position-weighted mean pooling."""

from typing import Literal

from torch import Tensor

from components.interface import Pooling, PoolingConfig
from components.ragged import States
from components.stock import StockModule


class PositionWeighted(PoolingConfig):
    """A mean in which a token weighs more, the later it stands."""

    kind: Literal["position_weighted"] = "position_weighted"

    def build(self, width: int) -> Pooling:
        return PositionWeightedPooling(width)


class PositionWeightedPooling(Pooling):
    """A mean in which a token weighs more, the later it stands.

    ``pooled = sum_t t x_t / sum_t t`` for t = 1, 2, ..., n: in a decoder the later tokens have seen
    more of the sentence. Without training it differs from the mean, and in a base whose tokens see
    the whole sentence it is worse.

    Source: Muennighoff, 2022, SGPT, section 4.1.
    """

    statistics = frozenset({"ramp"})

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, states: States) -> Tensor:
        return states.ramp

    def stock(self) -> list[StockModule]:
        arguments = {"embedding_dimension": self.width, "pooling_mode": "weightedmean"}
        return [StockModule("Pooling", arguments)]
