"""The sections of a space file that are the same for all its trials, and the file as a whole."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from components.interface import Config
from search.trial import TrialConfig

Count = Annotated[int, Field(ge=1)]


class SamplerSettings(Config):
    """How configs are drawn.

    Attributes:
        kind: ``tpe`` (Bergstra et al., 2011; multivariate, grouped) or ``random``.
        startup_trials: random trials before the model of the TPE takes over.
    """

    kind: Literal["tpe", "random"] = "tpe"
    seed: int = Field(default=0, ge=0, lt=2**32)
    startup_trials: int = Field(default=8, ge=1)


class SchedulerSettings(Config):
    """When trials are stopped.

    Attributes:
        kind: ``asha`` (Li et al., 2020) or ``none``, where every trial runs to the end.
        max_epochs: epochs of a finished trial.
        reduction: of the trials that reach a rung, one in so many goes on.
        grace_epochs: epochs that every trial gets.
    """

    kind: Literal["asha", "none"] = "asha"
    max_epochs: int = Field(default=9, ge=1)
    reduction: int = Field(default=3, ge=2)
    grace_epochs: int = Field(default=1, ge=1)


class SearchSettings(Config):
    """The search itself.

    Attributes:
        concurrency: trials at a time (lanes); None for as many as the cluster holds.
    """

    trials: int = Field(default=24, ge=1)
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


class DataSettings(Config):
    """Parallel sentences.

    Attributes:
        train: ``builtin:cldr``; a parquet, csv, tsv or jsonl file with a column a language; or a
            data set's name on the hub.
        validation: likewise; None holds out a share of the rows of ``train``.
        languages: the columns to use; None for all that ``train`` has (a name or ``id`` column
            must then be left out by giving this list).
        pivot: every language is scored against this one.
        train_rows, validation_rows: the most rows to use; None for all (of the built-in corpus,
            4,000 and 200).
        seed: of the built-in corpus, of the rows held out and of those used.
    """

    train: str = Field(min_length=1)
    validation: str | None = Field(default=None, min_length=1)
    languages: list[str] | None = None
    pivot: str = "en"
    holdout: float = Field(default=0.1, gt=0, lt=1, description="share of rows for validation")
    train_rows: int | None = Field(default=None, ge=2)
    validation_rows: int | None = Field(default=None, ge=2)
    seed: int = Field(default=0, ge=0, lt=2**32)


class RunConfig(TrialConfig):
    """A space file in which every domain has been given one of its values."""

    search: SearchSettings = SearchSettings()
    lane: LaneSettings = LaneSettings()
    data: DataSettings


# Sections that hold for a whole search: one value each, never a domain.
FIXED_SECTIONS = ("search", "lane", "data", "base")
