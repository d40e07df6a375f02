"""What every component must be, and how a folder of variants becomes a choice.

A variant is one file. The file's name is its ``kind``; in it stand a config class (pydantic) and
the module that the config's ``build`` makes. Configs hold what a person chooses; widths and other
facts of the run are arguments of ``build``; modules take plain values and never see a config.

Letters: T tokens, B sentences, D width of the base, E width of the embedding.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from components.ragged import States

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Config(BaseModel):
    """Base of everything a space file can say: unknown keys, loose types and NaN are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


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
    """States of the tokens in, one vector a sentence out."""

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
            family_B: int64 index into ``components.languages.FAMILIES``.

        Returns:
            emb_BE: float32.
        """

    def stock(self) -> list[StockModule] | None:
        """The stock modules that compute the same, or None where there are none."""
        return None


class Adapter(nn.Module, ABC):
    """Trainable weights inside the base. It is in force from ``build`` until ``remove``.

    Attributes:
        boundary: index k of the first layer it changes; the output of the layers below is that of
            the frozen base. Equal to the number of layers where it changes none.
    """

    boundary: int

    @abstractmethod
    def remove(self) -> None:
        """Give the base back as it was before ``build``, bit for bit."""

    @abstractmethod
    def merge(self) -> None:
        """Fold the trained weights into the base's own, for good; these may widen to float32."""


class Loss(nn.Module, ABC):
    """Embeddings of sentences and their translations in, a scalar out."""

    @abstractmethod
    def forward(self, anchor_BE: Tensor, positive_BE: Tensor, meaning_B: Tensor) -> Tensor:
        """Compare.

        Args:
            anchor_BE: unit vectors.
            positive_BE: unit vectors; row i translates row i of the anchors.
            meaning_B: int64; rows with the same number are the same sentence, so they are never
                each other's negatives.

        Returns:
            A scalar: the mean over the batch, in nats where the loss is an entropy.
        """


class PoolingConfig(Config, ABC):
    """Settings of a pooling."""

    kind: str

    @abstractmethod
    def build(self, width: int) -> Pooling:
        """Make the module for a base of ``width`` dimensions."""


class HeadConfig(Config, ABC):
    """Settings of a head."""

    kind: str
    width: int = Field(default=768, ge=1, description="dimensions of the embedding")

    @abstractmethod
    def build(self, width: int) -> Head:
        """Make the module for pooled vectors of ``width`` dimensions."""


class AdapterConfig(Config, ABC):
    """Settings of an adapter."""

    kind: str

    @abstractmethod
    def build(self, model: PreTrainedModel) -> Adapter:
        """Put the adapter into ``model``, in place.

        Raises:
            ValueError: the settings do not fit this model.
        """


class LossConfig(Config, ABC):
    """Settings of a loss."""

    kind: str

    @abstractmethod
    def build(self) -> Loss:
        """Make the module."""


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


def union_of(package: str, base: type[Config]) -> Any:
    """Form the pydantic union of a folder's config classes, told apart by ``kind``."""
    members = tuple(variants(package, base).values())
    if len(members) == 1:  # pydantic refuses a discriminator where there is nothing to tell apart
        return members[0]
    return Annotated[Union[members], Field(discriminator="kind")]  # noqa: UP007
