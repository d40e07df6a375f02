"""Last-token pooling."""

from typing import Literal

from torch import Tensor

from components.interface import Pooling, PoolingConfig
from components.ragged import States
from components.stock import StockModule


class Last(PoolingConfig):
    """The state of the last token."""

    kind: Literal["last"] = "last"

    def build(self, width: int) -> Pooling:
        return LastPooling(width)


class LastPooling(Pooling):
    """The state of the last token, the only one that has seen the whole sentence in a decoder.

    ``pooled = x_n``. Without training it differs from the mean, and is worse unless the base was
    trained with it.

    Source: Muennighoff, 2022, SGPT, section 4 (as the baseline of position-weighted means).
    """

    statistics = frozenset({"last"})

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, states: States) -> Tensor:
        return states.last

    def stock(self) -> list[StockModule]:
        return [
            StockModule("Pooling", {"embedding_dimension": self.width, "pooling_mode": "lasttoken"})
        ]
