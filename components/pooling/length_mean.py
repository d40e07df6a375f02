"""Mean pooling scaled by length."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from components.interface import Pooling, PoolingConfig
from components.ragged import States
from components.stock import StockModule


class LengthMean(PoolingConfig):
    """The sum of the token states, divided by a power of their number."""

    only_scales: ClassVar[bool] = True
    kind: Literal["length_mean"] = "length_mean"
    power: float = Field(default=0.5, ge=0, le=2, description="0 is the sum, 1 the mean")

    def build(self, width: int) -> Pooling:
        return LengthMeanPooling(width, self.power)


class LengthMeanPooling(Pooling):
    """The sum of the token states, divided by a power of their number.

    ``pooled = sum_t x_t / n ** power``, which is the mean times ``n ** (1 - power)``: at 0.5, the
    mean times the square root of the length. A longer sentence only gets a longer vector, so what
    follows must not be blind to length. Without training the cosines are those of the mean.

    Source: Cer et al., 2018, Universal Sentence Encoder, section 3.1 (power 0.5).
    """

    statistics = frozenset({"count", "mean"})

    def __init__(self, width: int, power: float) -> None:
        super().__init__()
        self.width = width
        self.power = power

    def forward(self, states: States) -> Tensor:
        return states.mean * states.count ** (1 - self.power)

    def stock(self) -> list[StockModule] | None:
        mode = {0.5: "mean_sqrt_len_tokens", 1.0: "mean"}.get(self.power)
        if mode is None:
            return None
        return [StockModule("Pooling", {"embedding_dimension": self.width, "pooling_mode": mode})]
