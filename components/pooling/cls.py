"""First-token pooling."""

from typing import ClassVar, Literal

from torch import Tensor

from components.interface import Pooling, PoolingConfig
from components.ragged import States
from components.stock import StockModule


class Cls(PoolingConfig):
    """The state of the first token."""

    needs_bidirectional: ClassVar[bool] = True
    kind: Literal["cls"] = "cls"

    def build(self, width: int) -> Pooling:
        return ClsPooling(width)


class ClsPooling(Pooling):
    """The state of the first token, which BERT's tokenizer puts there to stand for the sentence.

    ``pooled = x_1``. In a decoder the first token sees no other, so this would say nothing. Without
    training it differs from the mean, and is worse unless the base was trained with it.

    Source: Reimers and Gurevych, 2019, Sentence-BERT, section 3.
    """

    statistics = frozenset({"first"})

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, states: States) -> Tensor:
        return states.first

    def stock(self) -> list[StockModule]:
        return [StockModule("Pooling", {"embedding_dimension": self.width, "pooling_mode": "cls"})]
