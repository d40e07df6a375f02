"""The vocabulary of a trial: its config and its results, all plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from components.adapter import AnyAdapter
from components.base import BaseConfig
from components.head import AnyHead
from components.interface import Config
from components.loss import AnyLoss
from components.pooling import AnyPooling

State = Literal["finished", "stopped", "failed"]


class OptimizerConfig(Config):
    """AdamW (Loshchilov and Hutter, 2019) and its schedule over all epochs of a trial."""

    lr: float = Field(default=1e-3, gt=0, le=10, description="peak learning rate")
    weight_decay: float = Field(default=0.01, ge=0, le=10)
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps with rising lr")
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    clip_norm: float = Field(default=1.0, gt=0, description="largest norm of a step's gradient")


class TrainingConfig(Config):
    """What one epoch trains on.

    Attributes:
        pairs_per_epoch: pairs drawn in an epoch; None for as many as the data holds.
        language_temperature: language l of n_l pairs is drawn with probability proportional to
            ``n_l ** (1 / temperature)``: 1 is in proportion, larger is more even (Arivazhagan et
            al., 2019, Massively Multilingual NMT in the Wild, section 4.2).
        seed: of the fresh weights, the order of the data and dropout; the same for all trials
            unless searched, so that trials differ by their settings only.
    """

    batch_size: int = Field(default=64, ge=2, description="pairs a step, over all workers")
    pairs_per_epoch: int | None = Field(default=None, ge=2)
    language_temperature: float = Field(default=5.0, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)


class TrialConfig(Config):
    """Everything that decides a trial's result, apart from the data."""

    base: BaseConfig
    pooling: AnyPooling = Field(default={"kind": "mean"}, validate_default=True)
    head: AnyHead = Field(default={"kind": "linear"}, validate_default=True)
    adapter: AnyAdapter = Field(default={"kind": "none"}, validate_default=True)
    loss: AnyLoss = Field(default={"kind": "info_nce"}, validate_default=True)
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> TrialConfig:
        """The config inside a full set of a space file's values."""
        return cls.model_validate({k: v for k, v in values.items() if k in cls.model_fields})


@dataclass(frozen=True)
class Scores:
    """What an evaluation says.

    Attributes:
        accuracy: mean of ``by_language``.
        by_language: top-1 retrieval accuracy against the pivot, mean of both directions.
    """

    accuracy: float
    by_language: dict[str, float]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings -> one level with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
