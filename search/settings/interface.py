"""What a variant of each family of settings must be; a variant is one file in its family's folder.

These configs are plain data and rules about it. What a library runs is made elsewhere from what
they return: only `search.sampling` imports Optuna, and only `search.cluster` Ray.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from components.config import Config
from components.context import Context
from components.errors import SettingError
from components.other_model import OtherModel

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class OptunaSampler:
    """An Optuna sampler, described.

    Attributes:
        type: class name under ``optuna.samplers``.
        arguments: of its constructor, beside the seed.
    """

    type: str
    arguments: Mapping[str, object] = field(default_factory=dict)


class SamplerConfig(Config, ABC):
    """How configs are drawn.

    Attributes:
        default_trials: trials of a search that does not say how many; None for all configs.
        is_exhaustive: it goes through every combination of options instead of drawing some.
        learns_from_results: what it draws depends on the scores of earlier trials.
        seed: of what is drawn.
        startup_trials: random trials before a sampler that learns from results does so; the other
            samplers accept and ignore it, so that ``search.sampler.kind`` can be changed alone.
    """

    default_trials: ClassVar[int | None] = 24
    is_exhaustive: ClassVar[bool] = False
    learns_from_results: ClassVar[bool] = False
    kind: str
    seed: int = Field(default=0, ge=0, lt=2**32)
    startup_trials: int = Field(default=8, ge=1)

    @abstractmethod
    def optuna_sampler(self) -> OptunaSampler:
        """Describe the Optuna sampler that draws the values of a trial."""


class SchedulerConfig(Config, ABC):
    """When trials are stopped.

    Attributes:
        max_epochs: epochs of a finished trial.
        reduction: of the trials that reach a rung, one in so many goes on; without rungs it is
            accepted and ignored, so that ``search.scheduler.kind`` can be changed alone.
        grace_epochs: epochs that every trial gets, the first rung; ``optimizer.warmup`` is a share
            of these under every scheduler.
    """

    kind: str
    max_epochs: int = Field(default=9, ge=1)
    reduction: int = Field(default=3, ge=2)
    grace_epochs: int = Field(default=1, ge=1)

    @field_validator("grace_epochs")
    @classmethod
    def _check_order(cls, grace_epochs: int, info: ValidationInfo) -> int:
        max_epochs = info.data.get("max_epochs")  # missing where it is at fault itself
        if max_epochs is not None and grace_epochs > max_epochs:
            raise SettingError(
                "search.scheduler.grace_epochs",
                f"is {grace_epochs}",
                f"be at most max_epochs, {max_epochs}",
            )
        return grace_epochs

    @abstractmethod
    def rungs(self) -> list[int]:
        """Epochs, increasing and below ``max_epochs``, after which trials may be stopped."""

    def expected_epochs(self) -> float:
        """Epochs of an average trial, if the best of each rung go on."""
        stages = pairwise([0, *self.rungs(), self.max_epochs])
        lengths = [end - start for start, end in stages]
        return math.fsum(length * self.reduction**-n for n, length in enumerate(lengths))


class ScheduleConfig(Config, ABC):
    """How the learning rate falls after its rise to the peak."""

    kind: str

    @abstractmethod
    def factor(self, left: float) -> float:
        """Compute the learning rate as a share of its peak.

        Args:
            left: share of the steps after the rise that are still to come: 1 at the peak, above 0
                at the last step.
        """


@dataclass(frozen=True)
class Mining:
    """A search for hard negatives.

    Attributes:
        count: negatives a pair.
        margin: a sentence is taken only if it is less similar to the anchor than this share of the
            translation's similarity; None for no bound.
        pool: rows of the corpus, drawn anew each time, among which they are sought; None for all.
        every: epochs from one search to the next.
        encoder: another model that finds them; None for the model in training.
    """

    count: int
    margin: float | None
    pool: int | None
    every: int
    encoder: OtherModel | None


class NegativesConfig(Config, ABC):
    """Which sentences a pair is told apart from, beside those of its batch."""

    conflicts_with: ClassVar[tuple[Literal["head", "loss"], ...]] = ("loss",)
    kind: str

    def incompatibility(self, context: Context) -> SettingError | None:
        loss = context.loss
        if loss is None:
            return None
        if self.mining() is not None and not loss.takes_negatives:
            return SettingError(
                "negatives.kind",
                f"is {self.kind!r}, but the loss {loss.kind!r} compares with none",
                "be 'none', or the loss another",
            )
        if self.mining() is None and loss.needs_negatives:
            return SettingError(
                "loss.kind",
                f"is {loss.kind!r} with mined negatives, but negatives.kind is {self.kind!r}",
                "be another, or negatives.kind 'mined'",
            )
        return None

    @abstractmethod
    def mining(self) -> Mining | None:
        """Describe the search that finds them; None where there is none to make."""
