"""Mean pooling."""

from typing import Literal

from torch import Tensor

from components.interface import Pooling, PoolingConfig
from components.ragged import States
from components.stock import StockModule


class Mean(PoolingConfig):
    """The mean of the token states."""

    kind: Literal["mean"] = "mean"

    def build(self, width: int) -> Pooling:
        return MeanPooling(width)


class MeanPooling(Pooling):
    """The mean of the token states.

    ``pooled = sum_t x_t / n``. Every token weighs 1/n, so a sentence that its language cuts into
    38 tokens gives each word a share that an 8-token sentence does not.

    Source: Reimers and Gurevych, 2019, Sentence-BERT, section 3.
    """

    statistics = frozenset({"mean"})

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, states: States) -> Tensor:
        return states.mean

    def stock(self) -> list[StockModule]:
        return [StockModule("Pooling", {"embedding_dimension": self.width, "pooling_mode": "mean"})]
