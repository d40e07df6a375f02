"""What every component must be, and how a folder of variants becomes a choice.

A variant is one file. The file's name is its ``kind``; in it stand a config class (pydantic) and
the module that the config's ``build`` makes. Configs hold what a person chooses; widths and other
facts of the run are arguments of ``build``; modules take plain values and never see a config.

A module names those of its own parameters of two dimensions or more that are no weight matrices
(queries, latents) in a class attribute ``undecayed``: `components.decay` keeps weight decay off
them.

Letters: T tokens, B sentences (or pairs), D width of the base, E width of the embedding, N mined
negatives, W width of a teacher, K columns of a head's routing, F families of the run's languages.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from torch import Tensor, nn

from components.errors import SettingError
from components.projection import Init
from components.ragged import States

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from components.context import Context
    from components.other_model import OtherModel


class Config(BaseModel):
    """Base of everything a space file can say: unknown keys, loose types and NaN are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    # Sections of a trial, among those of `Context`, that `incompatibility` asks about.
    conflicts_with: ClassVar[tuple[Literal["head", "loss"], ...]] = ()

    def incompatibility(self, context: Context) -> SettingError | None:
        """Find a setting that can have no effect in a context; None where each has one.

        It may depend on the run and on one other section at a time, never on two together.
        """
        return None


@dataclass(frozen=True)
class StockModule:
    """One stock sentence-transformers module that stands for a component, or for part of it.

    Attributes:
        type: class name under ``sentence_transformers.models``.
        arguments: what its constructor takes, as plain values; an ``activation_function`` is named
            by its class under ``torch.nn``.
        weights: its state dict.
    """

    type: str
    arguments: dict[str, Any]
    weights: dict[str, Tensor] = field(default_factory=dict)


# The activations that a person may choose -> their classes under torch.nn.
Activation = Literal["relu", "gelu", "silu", "tanh"]
ACTIVATIONS: dict[Activation, str] = {
    "relu": "ReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "tanh": "Tanh",
}


def stock_dense(linear: nn.Linear, activation: str) -> StockModule:
    """The stock Dense module of a linear layer and of the activation (in torch.nn) after it."""
    return StockModule(
        "Dense",
        {
            "in_features": linear.in_features,
            "out_features": linear.out_features,
            "bias": linear.bias is not None,
            "activation_function": activation,
        },
        {f"linear.{name}": tensor for name, tensor in linear.state_dict().items()},
    )


class Pooling(nn.Module, ABC):
    """States of the tokens in, one vector a sentence out.

    Attributes:
        statistics: names of the statistics in `components.ragged.Statistics` that it reads, all of
            them and no others; None if it reads the states of tokens. Stored statistics can stand
            in for the base wherever it is not None.
    """

    statistics: frozenset[str] | None

    @abstractmethod
    def forward(self, states: States) -> Tensor:
        """Pool.

        Args:
            states: T x D in B sentences.

        Returns:
            pooled_BD: float32.
        """

    def stock(self) -> list[StockModule] | None:
        """The stock modules that compute the same, or None where there are none."""
        return None


class Head(nn.Module, ABC):
    """Pooled vector in, embedding out; the encoder makes it a unit vector afterwards."""

    @abstractmethod
    def forward(self, pooled_BD: Tensor, family_B: Tensor) -> Tensor:
        """Project.

        Args:
            pooled_BD: float32.
            family_B: int64 in [0, F]: index into the run's families; F for one that is none of
                them.

        Returns:
            emb_BE: float32.
        """

    def routing(self, pooled_BD: Tensor) -> Tensor:
        """What `penalty` needs of each sentence, routing_BK: nothing, for most heads."""
        return pooled_BD.new_zeros(len(pooled_BD), 0)

    def penalty(self, routing_BK: Tensor) -> Tensor:
        """A scalar to add to the loss, from the routing of the whole batch over all workers."""
        return routing_BK.new_zeros(())

    def stock(self) -> list[StockModule] | None:
        """The stock modules that compute the same, or None where there are none."""
        return None


class Adapter(nn.Module, ABC):
    """Trainable weights inside the base. It is in force from ``build`` until ``remove``.

    Attributes:
        boundary: index k of the first layer it changes; the output of the layers below is that of
            the frozen base. Equal to the number of layers where it changes none. At 0, what enters
            the first layer may be changed as well.
    """

    boundary: int

    def base_depths(self) -> Mapping[str, int]:
        """Its parameters that are the base's own weights -> layers above that of the parameter."""
        return {}

    @abstractmethod
    def remove(self) -> None:
        """Give the base back as it was before ``build``, bit for bit."""

    @abstractmethod
    def merge(self) -> None:
        """Fold the trained weights into the base's own, for good; these may widen to float32.

        An adapter with `folders` of its own only widens the base: nothing of it can be folded in.
        """

    def folders(self, folder: Path) -> None:
        """Write what cannot be merged: one PEFT folder a family, named by it; for most, nothing."""


@dataclass(frozen=True)
class Embedded:
    """What a loss sees of a batch.

    Attributes:
        anchor_BE: unit vectors.
        positive_BE: unit vectors; row i translates row i of the anchors.
        is_same: bool (2B, 2B + N) over the anchors, the positives and the mined negatives, in this
            order: whether two sentences are the same text in one language, or are recorded as
            translations of each other. Symmetric in its first 2B columns, but not transitive: a and
            b may both be translations of c without being the same.
        negative_NE: unit vectors of mined negatives, N a multiple of B: the first N / B are those
            of the first pair, and so on; None where none are mined.
        teachers: name of a teacher -> its embeddings teacher_BW of the pairs' pivot sentences.
    """

    anchor_BE: Tensor
    positive_BE: Tensor
    is_same: Tensor
    negative_NE: Tensor | None = None
    teachers: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def candidate_CE(self) -> Tensor:
        """What each anchor is compared with: the batch's translations, then the mined negatives."""
        if self.negative_NE is None:
            return self.positive_BE
        return torch.cat([self.positive_BE, self.negative_NE])

    @property
    def is_same_BC(self) -> Tensor:
        """Which candidates are right for which anchor: its own translation and others recorded.

        Of its first B columns, the transpose says which anchors are right for which positive.
        """
        size = len(self.anchor_BE)
        return self.is_same[:size, size:]

    @property
    def is_same_anchor_BB(self) -> Tensor:
        """Which anchors are the same as which anchor."""
        size = len(self.anchor_BE)
        return self.is_same[:size, :size]

    @property
    def is_same_positive_BC(self) -> Tensor:
        """Which candidates are the same as which positive."""
        size = len(self.anchor_BE)
        return self.is_same[size:, size:]


class Loss(nn.Module, ABC):
    """Embeddings of sentences and their translations in, a scalar out."""

    @abstractmethod
    def forward(self, batch: Embedded) -> Tensor:
        """Compare.

        Returns:
            A scalar: the mean over the batch, in nats where the loss is an entropy.
        """


class PoolingConfig(Config, ABC):
    """Settings of a pooling."""

    conflicts_with: ClassVar[tuple[Literal["head", "loss"], ...]] = ("head",)
    kind: str

    def incompatibility(self, context: Context) -> SettingError | None:
        if self.needs_bidirectional and context.causal:
            return SettingError(
                "pooling.kind",
                f"is {self.kind!r}, but the first token of a decoder sees no other",
                "be another pooling, or the base an encoder",
            )
        if self.only_scales and context.head is not None and context.head.ignores_scale:
            return SettingError(
                "pooling.kind",
                f"is {self.kind!r}, which only scales the mean, and the head "
                f"{context.head.kind!r} as it is set passes a scale on to the unit vector, where "
                f"it is lost",
                "be 'mean', or the head have a bias or an activation",
            )
        return None

    @property
    def trains(self) -> bool:
        """Whether it has parameters."""
        return False

    @property
    def only_scales(self) -> bool:
        """Whether it differs from the mean only by a positive factor for each sentence."""
        return False

    @property
    def needs_bidirectional(self) -> bool:
        """Whether it makes sense only where the first token sees the others."""
        return False

    @abstractmethod
    def build(self, width: int) -> Pooling:
        """Make the module for a base of ``width`` dimensions."""


class HeadConfig(Config, ABC):
    """Settings of a head.

    Attributes:
        routes: it treats families differently.
    """

    routes: ClassVar[bool] = False
    kind: str

    def incompatibility(self, context: Context) -> SettingError | None:
        return _one_family("head", self.kind, context) if self.routes else None

    @property
    def trains(self) -> bool:
        """Whether it has parameters."""
        return True

    @property
    def ignores_scale(self) -> bool:
        """Whether the direction of its output never depends on the length of its input."""
        return False

    @abstractmethod
    def out(self, width: int) -> int:
        """Dimensions E of the embedding, for pooled vectors of ``width`` dimensions."""

    @abstractmethod
    def build(self, width: int, families: Sequence[str] = ()) -> Head:
        """Make the module.

        Args:
            width: dimensions D of a pooled vector.
            families: names of the F families of the run's languages.

        Raises:
            ValueError: the settings do not fit these.
        """


class WideHeadConfig(HeadConfig, ABC):
    """Settings of a head whose output may have any width.

    Attributes:
        width: dimensions of the embedding; None for the base's own width.
        init: initial weights. ``identity`` keeps the base's space: the head starts as the identity,
            padded with zeros where the embedding is wider, or as a projection onto orthonormal
            directions where it is narrower, which costs some accuracy (.01 from 384 to 256).
            ``orthogonal`` starts from random orthonormal directions, ``random`` from torch's
            default, which forgets what the base aligned.
    """

    width: Annotated[int, Field(ge=1)] | None = 768
    init: Init = "identity"

    def out(self, width: int) -> int:
        return width if self.width is None else self.width


class AdapterConfig(Config, ABC):
    """Settings of an adapter.

    Attributes:
        routes: it treats families differently.
        trains_base: it trains weights of the base's own, by a learning rate of their own.
    """

    routes: ClassVar[bool] = False
    trains_base: ClassVar[bool] = False
    kind: str

    @property
    def trains(self) -> bool:
        """Whether it has parameters."""
        return True

    def incompatibility(self, context: Context) -> SettingError | None:
        return _one_family("adapter", self.kind, context) if self.routes else None

    @abstractmethod
    def build(self, model: PreTrainedModel, families: Sequence[str] = ()) -> Adapter:
        """Put the adapter into ``model``, in place.

        Args:
            families: names of the F families of the run's languages.

        Raises:
            ValueError: the settings do not fit this model or these families.
        """


class LossConfig(Config, ABC):
    """Settings of a loss."""

    kind: str

    @property
    def may_train(self) -> bool:
        """Whether it may have parameters; a map to a teacher depends on the widths of both."""
        return False

    @property
    def takes_negatives(self) -> bool:
        """Whether mined negatives change it."""
        return True

    @property
    def needs_negatives(self) -> bool:
        """Whether it has nothing to compare with unless negatives are mined."""
        return False

    @property
    def teachers(self) -> tuple[OtherModel, ...]:
        """Models whose embeddings it needs."""
        return ()

    @abstractmethod
    def build(self, width: int, teachers: Mapping[str, int] | None = None) -> Loss:
        """Make the module.

        Args:
            width: dimensions E of an embedding.
            teachers: name of each of `teachers` -> dimensions W of its embeddings.
        """


def _one_family(section: str, kind: str, context: Context) -> SettingError | None:
    """Why a section that treats families differently has nothing to tell apart, if so."""
    if len(context.families) >= 2:
        return None
    return SettingError(
        f"{section}.kind",
        f"is {kind!r}, but all languages are of one family, {''.join(context.families)!r}",
        "be one that all families share",
    )


def variants(package: str, base: type[Config]) -> dict[str, type[Config]]:
    """Find the variants in a folder: file name -> config class, in the order of names.

    Raises:
        TypeError: a file that does not hold exactly one config class, or whose ``kind`` is not the
            file's name.
    """
    found: dict[str, type[Config]] = {}
    folder = importlib.import_module(package).__path__
    for name in sorted(module.name for module in pkgutil.iter_modules(folder)):
        module = importlib.import_module(f"{package}.{name}")
        configs = [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, base)
            and value.__module__ == module.__name__
        ]
        if len(configs) != 1:
            raise TypeError(
                f"{module.__name__} holds {len(configs)} subclasses of {base.__name__}; it must "
                f"hold exactly one"
            )
        kind = configs[0].model_fields["kind"].default
        if kind != name:
            raise TypeError(
                f"{module.__name__}: kind is {kind!r}; it must be the file's name, {name!r}"
            )
        found[name] = configs[0]
    return found


def union_of(package: str, base: type[Config], default: str | None = None) -> Any:
    """Form the pydantic union of a folder's config classes, told apart by ``kind``.

    Args:
        default: kind of a mapping that names none; None where it must name one.
    """
    members = tuple(variants(package, base).values())
    if len(members) == 1:  # pydantic refuses a discriminator where there is nothing to tell apart
        return members[0]
    union: Any = Annotated[Union[members], Field(discriminator="kind")]  # noqa: UP007
    if default is None:
        return union

    def with_kind(value: object) -> object:
        return {"kind": default} | value if isinstance(value, dict) else value

    return Annotated[union, BeforeValidator(with_kind)]
