"""A weighted sum of poolings."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from components.errors import SettingError
from components.interface import Pooling, PoolingConfig
from components.mix import MixConfig
from components.ragged import States
from components.stock import StockModule


class Weighted(MixConfig[PoolingConfig], PoolingConfig):
    """Other poolings, each times its weight, added up.

    Attributes:
        weights: kind of a pooling -> its weight. A pooling with a fixed weight of 0 is not built.
        settings: kind of a pooling -> its settings, where they are not the default ones.
    """

    family: ClassVar[str] = "pooling"
    kind: Literal["weighted"] = "weighted"
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default={"mean": 0.5, "max": 0.5})
    learned: bool = Field(default=False, description="learn the weights from that start")

    @classmethod
    def part_config(cls) -> type[PoolingConfig]:
        return PoolingConfig

    @property
    def trains(self) -> bool:
        return self.learned or any(part.trains for part in self.parts().values())

    @property
    def only_scales(self) -> bool:
        parts = self.parts()
        return bool(parts) and all(p.only_scales or p.kind == "mean" for p in parts.values())

    @property
    def needs_bidirectional(self) -> bool:
        return any(part.needs_bidirectional for part in self.parts().values())

    def parts(self) -> dict[str, PoolingConfig]:
        # A learned weight may leave 0 again.
        every = self.model_copy(update={"weights": dict.fromkeys(self.weights, 1.0)})
        return super(Weighted, every).parts() if self.learned else super().parts()

    def build(self, width: int) -> Pooling:
        if not any(self.weights.values()):
            raise SettingError("pooling.weights", "are all 0", "have one at least above 0")
        parts = []
        for kind, config in self.parts().items():
            try:
                parts.append(config.build(width))
            except SettingError as error:
                raise self.moved(kind, error) from error
        return WeightedPooling(parts, [self.weights[kind] for kind in self.parts()], self.learned)


class WeightedPooling(Pooling):
    """Other poolings, each times its weight, added up.

    ``pooled = sum_k w_k pooled_k``. Learned weights are a parameter (one number a part) and may go
    anywhere from where they start, below zero too. They start at the settings' weights, so without
    training this differs from the mean unless these are ``{mean: 1, max: 0}``, say: such a learned
    sum starts at the mean.

    Source: none in particular; sentence-transformers lays several poolings end to end instead,
    which multiplies the width.
    """

    def __init__(self, parts: list[Pooling], weights: list[float], learned: bool) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        read = [part.statistics for part in parts]
        known = [names for names in read if names is not None]
        self.statistics = frozenset().union(*known) if len(known) == len(read) else None
        self.weights = weights
        self.learned = learned
        weight_P = torch.tensor(weights, dtype=torch.float32)
        if learned:
            self.weight_P = nn.Parameter(weight_P)
        else:
            self.register_buffer("weight_P", weight_P, persistent=False)

    def forward(self, states: States) -> Tensor:
        pooled_PBD = torch.stack([part(states) for part in self.parts])
        return (self.weight_P.view(-1, 1, 1) * pooled_PBD).sum(0)

    def stock(self) -> list[StockModule] | None:
        """The parts end to end, and a matrix ``[w_1 I, w_2 I, ...]`` that adds them up.

        None where one of the parts has no stock module, or where two have the same one.
        """
        modes: list[str] = []
        width = 0
        for part in self.parts:
            assert isinstance(part, Pooling)
            described = part.stock()
            if described is None or len(described) != 1 or described[0].type != "Pooling":
                return None
            modes.append(str(described[0].arguments["pooling_mode"]))
            found = described[0].arguments["embedding_dimension"]
            assert isinstance(found, int)
            width = found
        if len(set(modes)) < len(modes):
            return None
        eye_DD = torch.eye(width)
        dense = {
            "in_features": len(modes) * width,
            "out_features": width,
            "bias": False,
            "activation_function": "Identity",
        }
        matrix = torch.cat([weight * eye_DD for weight in self.weight_P.detach().cpu()], dim=1)
        return [
            StockModule("Pooling", {"embedding_dimension": width, "pooling_mode": modes}),
            StockModule("Dense", dense, {"linear.weight": matrix}),
        ]
