"""No head."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from components.interface import Head, HeadConfig
from components.stock import StockModule


class Identity(HeadConfig):
    """No head: the embedding is the pooled vector and has the base's width."""

    kind: Literal["identity"] = "identity"

    @property
    def trains(self) -> bool:
        return False

    @property
    def ignores_scale(self) -> bool:
        return True

    def out(self, width: int) -> int:
        return width

    def build(self, width: int, families: Sequence[str] = ()) -> Head:
        return IdentityHead()


class IdentityHead(Head):
    """The pooled vector itself: ``emb = pooled``, E = D, no parameters.

    What trains is then the adapter, or the pooling; beside a projection it shows what that is
    worth, and beside a base that was trained as an embedder it keeps what the base can do.

    Source: Reimers and Gurevych, 2019, Sentence-BERT, section 3 (pooling alone).
    """

    def forward(self, pooled_BD: Tensor, family_B: Tensor) -> Tensor:
        return pooled_BD

    def stock(self) -> list[StockModule]:
        return []
