"""Max pooling."""

from typing import Literal

from torch import Tensor

from components.interface import Pooling, PoolingConfig
from components.ragged import States
from components.stock import StockModule


class Max(PoolingConfig):
    """The largest value of each dimension over the tokens."""

    kind: Literal["max"] = "max"

    def build(self, width: int) -> Pooling:
        return MaxPooling(width)


class MaxPooling(Pooling):
    """The largest value of each dimension over the tokens.

    ``pooled_d = max_t x_td``. Repeating a token changes nothing, so length weighs less than in a
    mean. Without training it differs from the mean, and is worse unless the base was trained with
    it.

    Source: Reimers and Gurevych, 2019, Sentence-BERT, section 3.
    """

    statistics = frozenset({"max"})

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, states: States) -> Tensor:
        return states.max

    def stock(self) -> list[StockModule]:
        return [StockModule("Pooling", {"embedding_dimension": self.width, "pooling_mode": "max"})]
