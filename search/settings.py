"""The sections of a space file that are the same for all its trials, and the file as a whole."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from components.interface import Config
from search.data.prompts import AnyPrompt
from search.data.reading.names import check_name
from search.data.source import AnySource, PairColumns
from search.trial import Count, TrialConfig

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


class DataSettings(Config):
    """Parallel sentences.

    Attributes:
        train: where the sentences come from: ``builtin:cldr``; a parquet, csv, tsv, jsonl or json
            file with a column a language (text also with ``.gz``), a folder or glob of such files,
            or a list of these; Moses files, as ``{en: a.en, de: a.de}`` or ``corpus.de-en.*``; a
            data set of the hub, as ``name`` or ``name:config``; or the full form of any of these,
            ``{kind: ...}`` (`search.data.source`).
        validation: likewise; None holds out a share of the rows of ``train`` (``holdout``).
        languages: the columns to use, as ``[en, de]`` or ``en,de``; None for all of ``train`` whose
            names are language codes (ISO 639, BCP 47, FLORES) and no ordinary words, such as
            ``id``.
        columns: names of the columns of TSV and CSV files without a header line, in their order.
        pairs: for tables that hold a source and a target sentence a row and name their languages in
            further columns: ``{source: src, target: tgt, language: lang}``.
        pivot: every language is scored against this one.
        prompt: text that stands before every sentence, in training, in scores and in ``best/``, or
            ``{pivot: ..., others: ...}``; None for the default prompt of the base, if it was saved
            by sentence-transformers with one; ``""`` for none.
        families: language code or ISO 15924 script -> family, in place of what the table in
            ``components/languages.py`` says: ``{ko: korean}`` makes a family of one language.
        holdout: the share of the rows of ``train`` that is held out where ``validation`` is None;
            2,000 rows at most, unless ``validation_rows`` says more. Rows that share a sentence of
            any language are held out together.
        train_rows, validation_rows: the most rows to use; None for all (of the built-in corpus,
            4,000 and 200).
        seed: of the built-in corpus, of the rows held out and of those used.
    """

    train: AnySource
    validation: AnySource | None = None
    languages: list[str] | None = None
    columns: list[str] | None = Field(default=None, min_length=2)
    pairs: PairColumns | None = None
    pivot: str = "en"
    prompt: AnyPrompt | None = None
    families: dict[str, Name] = Field(default_factory=dict)
    holdout: float = Field(default=0.1, gt=0, lt=1)
    train_rows: int | None = Field(default=None, ge=2)
    validation_rows: int | None = Field(default=None, ge=2)
    seed: int = Field(default=0, ge=0, lt=2**32)

    @field_validator("languages", mode="before")
    @classmethod
    def _as_list(cls, languages: Any) -> Any:
        if isinstance(languages, str):
            return [name.strip() for name in languages.split(",")]
        return languages

    @field_validator("languages")
    @classmethod
    def _plain_names(cls, languages: list[str] | None) -> list[str] | None:
        for language in languages or ():
            check_name(language)
        return languages


class CacheSettings(Config):
    """Where the outputs of frozen layers are stored, for this search and later ones.

    Attributes:
        folder: None for ``$ISOGLOSS_CACHE`` or, without that, the user's cache folder.
        max_gb: size of that folder, at most; what was used longest ago goes first. With 0 nothing
            is stored, and every trial runs the whole base.
    """

    folder: str | None = Field(default=None, min_length=1)
    max_gb: float = Field(default=20.0, ge=0)


class RunConfig(TrialConfig):
    """A space file in which every domain has been given one of its values."""

    search: SearchSettings = SearchSettings()
    lane: LaneSettings = LaneSettings()
    cache: CacheSettings = CacheSettings()
    data: DataSettings


# Sections that hold for a whole search: one value each, never a domain.
FIXED_SECTIONS = ("search", "lane", "data", "base", "cache")
