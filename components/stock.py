"""The stock sentence-transformers modules that can stand for a component in an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn


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
    arguments: Mapping[str, object]
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
