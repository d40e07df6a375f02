"""A weighted sum of losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from components.embedded import Embedded
from components.errors import SettingError
from components.interface import Loss, LossConfig
from components.mix import MixConfig
from components.other_model import OtherModel


class Sum(MixConfig[LossConfig], LossConfig):
    """Other losses, each times its weight, added up.

    Attributes:
        weights: kind of a loss -> its weight. A loss whose weight is 0 is not made, and what it
            would need is not asked for.
        settings: kind of a loss -> its settings, where they are not the default ones.
    """

    family: ClassVar[str] = "loss"
    kind: Literal["sum"] = "sum"
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default={"info_nce": 1.0, "triplet": 1.0}
    )

    @classmethod
    def part_config(cls) -> type[LossConfig]:
        return LossConfig

    @property
    def may_train(self) -> bool:
        return any(part.may_train for part in self.parts().values())

    @property
    def takes_negatives(self) -> bool:
        return any(part.takes_negatives for part in self.parts().values())

    @property
    def needs_negatives(self) -> bool:
        return any(part.needs_negatives for part in self.parts().values())

    @property
    def teachers(self) -> tuple[OtherModel, ...]:
        models = (model for part in self.parts().values() for model in part.teachers)
        return tuple(dict.fromkeys(models))

    def build(self, width: int, teachers: Mapping[str, int] | None = None) -> Loss:
        parts = self.parts()
        if not parts:
            raise SettingError("loss.weights", "are all 0", "have one at least above 0")
        return SumLoss(
            [part.build(width, teachers) for part in parts.values()],
            [self.weights[kind] for kind in parts],
        )


class SumLoss(Loss):
    """Other losses, each times its weight, added up.

    ``sum_k w_k loss_k``; the weights need not add up to 1.

    Source: Kendall et al., 2018, Multi-Task Learning Using Uncertainty to Weigh Losses, equation 1
    (the weighted sum that it starts from).
    """

    def __init__(self, parts: list[Loss], weights: list[float]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.weights = weights

    def forward(self, batch: Embedded) -> Tensor:
        total = batch.anchor_BE.new_zeros(())
        for part, weight in zip(self.parts, self.weights, strict=True):
            total = total + weight * part(batch)
        return total
