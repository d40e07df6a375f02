"""The vocabulary of a trial: its config and its results, all plain data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationError

from components.adapter import AnyAdapter
from components.base import BaseConfig
from components.config import Config
from components.context import Context
from components.errors import SettingError
from components.head import AnyHead
from components.loss import AnyLoss
from components.matryoshka import unfit_width
from components.other_model import OtherModel
from components.pooling import AnyPooling
from search.settings.interface import Count
from search.settings.negatives import AnyNegatives
from search.settings.schedule import ScheduleName

# Of lr, the share that the base's own weights get unless base_lr says otherwise.
BASE_SHARE = 0.1
Rate = Annotated[float, Field(gt=0, le=10)]


class OptimizerConfig(Config):
    """AdamW (Loshchilov and Hutter, 2019) and its schedule over all epochs of a trial.

    Attributes:
        adapter_lr, pooling_lr, head_lr, loss_lr: peak learning rate of this part alone (a loss may
            learn its temperature, or a map to its teacher); None for ``lr``.
        base_lr: peak learning rate of the base's own weights, where ``adapter.kind`` is
            ``unfrozen``; None for a tenth of ``lr``.
        layer_decay: of these weights, each layer's rate is this times that of the layer above it
            (Howard and Ruder, 2018, ULMFiT, section 3.2); 1 for the same rate in all.
        weight_decay: of weight matrices; biases, norms, queries, latents, learned weights of a
            pooling and temperatures are left alone (`components.decay`).
        warmup: share of the steps of the first rung (``search.scheduler.grace_epochs`` epochs) in
            which the learning rate rises; the fall to zero takes all the others. It counts the
            same whatever ``search.scheduler.kind`` is, and in `search.finetune`.
        schedule: how the learning rate falls after its peak.
    """

    lr: Rate = Field(default=1e-3, description="peak learning rate")
    adapter_lr: Rate | None = None
    pooling_lr: Rate | None = None
    head_lr: Rate | None = None
    loss_lr: Rate | None = None
    base_lr: Rate | None = None
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0, le=10)
    warmup: float = Field(
        default=0.1, ge=0, lt=1, description="share of the first rung with rising lr"
    )
    schedule: ScheduleName = "linear"
    clip_norm: float = Field(default=1.0, gt=0, description="largest norm of a step's gradient")

    @property
    def rate_of_base(self) -> float:
        """Peak learning rate of the base's own weights."""
        return self.lr * BASE_SHARE if self.base_lr is None else self.base_lr


class TrainingConfig(Config):
    """What one epoch trains on.

    Attributes:
        pairs_per_epoch: pairs drawn in an epoch; None for as many as the data holds.
        language_temperature: language l of n_l pairs is drawn with probability proportional to
            ``n_l ** (1 / temperature)``: 1 is in proportion, larger is more even (Arivazhagan et
            al., 2019, Massively Multilingual NMT in the Wild, section 4.2).
        one_language: a batch holds pairs of one language, as far as these fill it, so that a
            sentence is told from others of its own language alone; otherwise languages mix.
        matryoshka: widths, below the embedding's own, at which its first dimensions alone are
            trained to be an embedding too (Kusupati et al., 2022).
        chunk_tokens: the most tokens that the encoder holds for the backward pass at a time, for
            batches larger than the memory (GradCache: Gao et al., 2021); None for a whole batch.
        activation_checkpointing: keep what enters each layer of the base, not all that the layer
            computes; the backward pass computes that again (Chen et al., 2016, Training Deep Nets
            with Sublinear Memory Cost). The result is the same, for less memory and more time.
        gather: every pair is told apart from those of all workers of the lane, not only from those
            of its own worker.
        seed: of the fresh weights, the order of the data and dropout; the same for all trials
            unless searched, so that trials differ by their settings only.
        pairs_seed: of which pairs each epoch draws; None for ``seed``. A finalist draws those that
            its trial has drawn, whatever its seed, so that what is stored of them serves it too.
    """

    conflicts_with: ClassVar[tuple[Literal["head", "loss"], ...]] = ("head",)
    batch_size: int = Field(default=64, ge=2, description="pairs a step, over all workers")
    pairs_per_epoch: int | None = Field(default=None, ge=2)
    language_temperature: float = Field(default=5.0, ge=1)
    one_language: bool = False
    matryoshka: Annotated[list[Count], Field(min_length=1)] | None = None
    chunk_tokens: Count | None = None
    activation_checkpointing: bool = False
    gather: bool = True
    seed: int = Field(default=0, ge=0, lt=2**32)
    pairs_seed: int | None = Field(default=None, ge=0, lt=2**32)

    @property
    def seed_of_pairs(self) -> int:
        """What decides which pairs each epoch draws."""
        return self.seed if self.pairs_seed is None else self.pairs_seed

    def incompatibility(self, context: Context) -> SettingError | None:
        if not self.gather and context.workers == 1:
            return SettingError(
                "training.gather",
                "is false, but a lane has one worker, which gathers nothing",
                "be true, or lane.workers more than 1",
            )
        if self.one_language and len(context.languages) == 1:
            return SettingError(
                "training.one_language",
                f"is true, but {context.languages[0]!r} is the only language beside the pivot",
                "be false",
            )
        if self.matryoshka is None or context.head is None:
            return None
        return unfit_width(self.matryoshka, context.head.out(context.width))


# Sections that only training reads.
READ_BY_TRAINING = ("loss", "negatives", "optimizer", "training")


class TrialConfig(Config):
    """Everything that decides a trial's result, apart from the data.

    Attributes:
        case: name of the case of the space that it is of, if that has any.
    """

    case: str | None = None
    base: BaseConfig
    pooling: AnyPooling = Field(default={"kind": "mean"}, validate_default=True)
    head: AnyHead = Field(default={"kind": "linear"}, validate_default=True)
    adapter: AnyAdapter = Field(default={"kind": "none"}, validate_default=True)
    loss: AnyLoss = Field(default={"kind": "info_nce"}, validate_default=True)
    negatives: AnyNegatives = Field(default={"kind": "none"}, validate_default=True)
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()

    @property
    def teachers(self) -> tuple[OtherModel, ...]:
        """Other models whose embeddings of the corpus' rows the loss needs."""
        return self.loss.teachers

    @property
    def miner(self) -> OtherModel | None:
        """Another model that finds the negatives."""
        mining = self.negatives.mining()
        return mining.encoder if mining else None

    @property
    def trains(self) -> bool:
        """Whether the encoder has parameters to train."""
        return self.pooling.trains or self.head.trains or self.adapter.trains

    @property
    def idle(self) -> frozenset[str]:
        """Dotted keys of settings for parts that have no parameters in this trial.

        Where nothing trains, these are all that only training reads.
        """
        if not self.trains:
            read_by_training = self.model_dump(include=set(READ_BY_TRAINING))
            return frozenset(flatten(read_by_training))
        own = self.adapter.trains_base
        read = {
            "optimizer.base_lr": own,
            "optimizer.layer_decay": own,
            "optimizer.adapter_lr": self.adapter.trains and not own,
            "optimizer.pooling_lr": self.pooling.trains,
            "optimizer.head_lr": self.head.trains,
            "optimizer.loss_lr": self.loss.may_train,
            "training.activation_checkpointing": self.adapter.trains,
        }
        return frozenset(key for key, has in read.items() if not has)

    @property
    def main_rate(self) -> float:
        """Peak learning rate of the base's own weights where these train, of the rest otherwise."""
        return self.optimizer.rate_of_base if self.adapter.trains_base else self.optimizer.lr

    def plain(self) -> dict[str, object]:
        """Nested plain values; the case is among them only where there is one."""
        return self.model_dump(exclude=None if self.case else {"case"})

    @classmethod
    def of(cls, values: Mapping[str, object]) -> TrialConfig:
        """The config inside a full set of a space file's values."""
        return cls.model_validate({k: v for k, v in values.items() if k in cls.model_fields})


@dataclass(frozen=True)
class Scores:
    """What an evaluation says.

    Attributes:
        accuracy: mean of ``by_language``.
        by_language: top-1 retrieval accuracy against the pivot, mean of both directions.
        objective: what the search maximises; None where that is ``accuracy``.
        metric: language -> metric of the search, where that is not the accuracy.
    """

    accuracy: float
    by_language: dict[str, float]
    objective: float | None = None
    metric: dict[str, float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """What is to be maximised."""
        return self.accuracy if self.objective is None else self.objective


def flatten(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested settings -> one level with dotted keys; lists stay values."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def varied_settings(trials: Iterable[Mapping[str, object]]) -> frozenset[str]:
    """Names of the settings of which trials with the same kind of component have different values.

    The name of such a kind stands before it, as ``lora adapter.rank``.
    """
    found: dict[str, object] = {}
    varied = set()
    for values in trials:
        flat = flatten(values)
        for name, value in flat.items():
            known = _of_kind(name, flat)
            if found.setdefault(known, value) != value:
                varied.add(known)
    return frozenset(varied)


def _of_kind(name: str, flat: Mapping[str, object]) -> str:
    """A setting, with the kind of component that it is of, where it is of one."""
    kind = flat.get(f"{name.partition('.')[0]}.kind")
    return f"{kind} {name}" if isinstance(kind, str) and not name.endswith(".kind") else name


def changed_settings(
    values: Mapping[str, object],
    reference: Mapping[str, object],
    varied: Collection[str] = (),
) -> list[tuple[str, object, object]]:
    """Settings in which a trial differs from another: name, its own, the other's.

    A setting that the other has not got is None there, and is left out at its default; so are
    settings that have no effect in the trial.

    Args:
        varied: as of `varied_settings`; they are told at their default too.
    """
    before, own = flatten(reference), flatten(values)
    try:
        config = TrialConfig.of(values)
        idle = config.idle
        given = flatten(config.model_dump(exclude_defaults=True))
    except ValidationError:  # of another version
        idle, given = frozenset(), own
    return [
        (name, value, before.get(name))
        for name, value in own.items()
        if name not in idle
        and before.get(name) != value
        and (
            name in before
            or name in given
            or _of_kind(name, own) in varied
            or name.endswith(".kind")
        )
    ]
