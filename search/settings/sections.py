"""The sections of a space file that are the same for all its trials, and the file as a whole."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.config import Config
from search.scoring.constraints import Constraints
from search.scoring.settings import Scoring
from search.settings.interface import Count
from search.settings.sampler import AnySampler
from search.settings.scheduler import AnyScheduler

MOST_TRIALS = 1_000_000  # of a search: far more than any trains, and few enough to count
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class FinalistSettings(Config):
    """What follows a search: its best trials are trained anew before one of them is chosen.

    The best of many scores is partly luck. Each finalist is therefore trained to its last epoch
    with other seeds, and these runs alone decide.

    Attributes:
        count: of trials; 0 makes the best trial the best model as it is.
        seeds: runs of each of them.
        average: try the mean of the weights of a finalist's runs too (Wortsman et al., 2022, Model
            soups), which stands for the finalist where it is better than they are; it takes two
            seeds at least.
    """

    count: int = Field(default=3, ge=0)
    seeds: Count = 3
    average: bool = True


class SearchSettings(Scoring, Constraints):
    """The search itself.

    ``metric`` and ``objective`` say what it maximises (`Scoring`); ``floors``,
    ``no_language_below`` and ``max_parameters`` what the best model must keep (`Constraints`).

    Attributes:
        trials: how many; None for 24, or for all that a grid has. No config is trained twice, so
            there are no more than the space has distinct ones.
        concurrency: trials at a time (lanes); None for as many as the cluster holds.
        start: starting points, tried before the sampler draws: each names some settings of a trial,
            with values that lie in the space (``{head: {kind: identity}, optimizer: {lr:
            1.0e-3}}``); all others are as in the reference trial.
        finalists: the best trials that are trained anew with other seeds (`FinalistSettings`); null
            for none, as for a quick look.
        keep: the best trials so many of which keep their checkpoints, without the optimizer's
            moments; of the other trials that have ended, only scores are kept.
        checkpoints: where checkpoints go, as a URI of a bucket or the like (``s3://bucket/folder``,
            ``gs://``, ``abfs://``, ``hdfs://``) in which the run gets a folder; None for the run
            folder.
        tensorboard: whether TensorBoard files are written, below ``tensorboard/`` of the run
            folder, a folder a trial.
        sampler: how configs are drawn.
        scheduler: when trials are stopped.
    """

    trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] | None = None
    concurrency: Count | None = None
    keep: Count = 5
    finalists: FinalistSettings | None = FinalistSettings()
    checkpoints: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9+.-]+://.+")
    tensorboard: bool = False
    start: list[dict[str, object]] = Field(default=[])
    sampler: AnySampler = Field(default={"kind": "tpe"}, validate_default=True)
    scheduler: AnyScheduler = Field(default={"kind": "asha"}, validate_default=True)

    @property
    def finals(self) -> FinalistSettings:
        """The finalists, none of them where there are to be none."""
        return self.finalists or FinalistSettings(count=0)

    @property
    def constraints(self) -> Constraints:
        """What the best model must keep, alone."""
        return Constraints(**{name: getattr(self, name) for name in Constraints.model_fields})

    @property
    def scoring(self) -> Scoring:
        """What is maximised, alone."""
        return Scoring(metric=self.metric, objective=self.objective)


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
