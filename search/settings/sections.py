"""The sections of a space file that are the same for all its trials, and the file as a whole."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from components.interface import Config
from search.settings.trial import Count

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class SamplerSettings(Config):
    """How configs are drawn.

    Attributes:
        kind: ``tpe`` (Bergstra et al., 2011; multivariate, grouped), ``random``, or ``grid``, every
            combination of options once.
        startup_trials: random trials before the model of the TPE takes over.
    """

    kind: Literal["tpe", "random", "grid"] = "tpe"
    seed: int = Field(default=0, ge=0, lt=2**32)
    startup_trials: int = Field(default=8, ge=1)


class SchedulerSettings(Config):
    """When trials are stopped.

    Attributes:
        kind: ``asha`` (Li et al., 2020) or ``none``, where every trial runs to the end.
        max_epochs: epochs of a finished trial.
        reduction: of the trials that reach a rung, one in so many goes on.
        grace_epochs: epochs that every trial gets, the first rung; ``optimizer.warmup`` is a share
            of these, with ``none`` too.
    """

    kind: Literal["asha", "none"] = "asha"
    max_epochs: int = Field(default=9, ge=1)
    reduction: int = Field(default=3, ge=2)
    grace_epochs: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.grace_epochs > self.max_epochs:
            raise ValueError(
                f"grace_epochs is {self.grace_epochs}; it must be at most max_epochs, "
                f"{self.max_epochs}"
            )
        return self

    def expected_epochs(self) -> float:
        """Epochs of an average trial, if the best of each rung go on."""
        if self.kind == "none" or self.grace_epochs >= self.max_epochs:
            return self.max_epochs
        epochs, rung, share = float(self.grace_epochs), self.grace_epochs, 1.0
        while rung < self.max_epochs:
            share /= self.reduction
            following = min(rung * self.reduction, self.max_epochs)
            epochs += share * (following - rung)
            rung = following
        return epochs


class SearchSettings(Config):
    """The search itself.

    Attributes:
        trials: how many; None for 24, or for all that a grid has. No config is trained twice, so
            there are no more than the space has distinct ones.
        concurrency: trials at a time (lanes); None for as many as the cluster holds.
    """

    trials: Count | None = None
    metric: Literal["accuracy"] = "accuracy"
    concurrency: Count | None = None
    sampler: SamplerSettings = SamplerSettings()
    scheduler: SchedulerSettings = SchedulerSettings()


class LaneSettings(Config):
    """What one lane takes from the cluster. None: derived from what the cluster has.

    Attributes:
        workers: processes that train one model together (DDP).
        gpus: GPUs a worker; 0 trains on the CPU.
        cpus: CPUs a worker.
    """

    workers: Count = 1
    gpus: int | None = Field(default=None, ge=0)
    cpus: Count | None = None


class CacheSettings(Config):
    """Where the outputs of frozen layers are stored, for this search and later ones.

    Attributes:
        folder: None for ``$ISOGLOSS_CACHE`` or, without that, the user's cache folder.
        max_gb: size of that folder, at most; what was used longest ago goes first. With 0 nothing
            is stored, and every trial runs the whole base.
    """

    folder: str | None = Field(default=None, min_length=1)
    max_gb: float = Field(default=20.0, ge=0)
