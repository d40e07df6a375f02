"""What every component and its config must be.

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

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor, nn

from components.averaging import mean_of
from components.config import Config
from components.embedded import Embedded
from components.errors import SettingError
from components.ragged import States
from components.stock import StockModule

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from components.context import Context
    from components.other_model import OtherModel


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
        """Merge the trained weights into the base's own permanently; these may widen to float32.

        An adapter with `folders` of its own only widens the base: nothing of it can be folded in.
        """

    def folders(self, folder: Path) -> None:
        """Write what cannot be merged: one PEFT folder a family, named by it; for most, nothing."""

    def save_peft(self, folder: Path) -> bool:
        """Write what `merge` would fold into the base as a PEFT folder; False where it is nothing.

        The adapter stays in force.
        """
        return False


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
        return context.one_family("head", self.kind) if self.routes else None

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
        return context.one_family("adapter", self.kind) if self.routes else None

    @abstractmethod
    def build(self, model: PreTrainedModel, families: Sequence[str] = ()) -> Adapter:
        """Put the adapter into ``model``, in place.

        Args:
            families: names of the F families of the run's languages.

        Raises:
            ValueError: the settings do not fit this model or these families.
        """

    def average(
        self, runs: Sequence[Mapping[str, Tensor]]
    ) -> tuple[AdapterConfig, dict[str, Tensor]]:
        """Settings and parameters that change the base by the mean of what those of ``runs`` do.

        It is the mean of the parameters (of each run by name) unless the adapter multiplies them.
        """
        return self, {name: mean_of([run[name] for run in runs]) for name in runs[0]}


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
