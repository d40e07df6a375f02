"""Where a transformers model keeps its layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from transformers.pytorch_utils import Conv1D

from components.errors import SettingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def depth_of(model: PreTrainedModel) -> int:
    """Number of layers that the states of a token go through.

    Raises:
        SettingError: the model's settings do not say it.
    """
    depth = getattr(model.config, "num_hidden_layers", None)
    if not isinstance(depth, int):
        raise SettingError(
            "base.model",
            f"is a {type(model).__name__} without num_hidden_layers",
            "be a decoder or an encoder with one stack of layers",
        )
    return depth


def layers_of(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Find the stack of layers: its name inside the model, and the stack.

    It is as long as the model is deep or, where layers share their weights (ALBERT), as the groups
    are that share them.

    Raises:
        SettingError: the model has no one list of that length.
    """
    length = getattr(model.config, "num_hidden_groups", depth_of(model))
    stacks = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == length
    ]
    # Lists inside a layer (experts, say) may be as long as the stack; the stack comes first and
    # the others lie in it.
    if not stacks or any(not name.startswith(f"{stacks[0][0]}.") for name, _ in stacks[1:]):
        raise SettingError(
            "base.model",
            f"is a {type(model).__name__} with {len(stacks)} stacks of layers",
            "be a decoder or an encoder with one",
        )
    return stacks[0]


def first_of_last(model: PreTrainedModel, last_layers: int | str) -> int:
    """Index of the first of the last layers that an adapter changes.

    Args:
        last_layers: how many, counted from the top; ``all`` for every one.

    Raises:
        SettingError: the model has fewer layers, or its layers share their weights, so that a
            change of one is a change of all.
    """
    _, layers = layers_of(model)
    if len(layers) < depth_of(model):
        if last_layers != "all":
            raise SettingError(
                "adapter.last_layers",
                f"is {last_layers}, but the base's {depth_of(model)} layers share the weights of "
                f"{len(layers)}",
                "be 'all'",
            )
        return 0
    depth = len(layers) if last_layers == "all" else int(last_layers)
    if depth > len(layers):
        raise SettingError(
            "adapter.last_layers",
            f"is {depth}",
            f"be at most {len(layers)}, the base's number of layers, or 'all'",
        )
    return len(layers) - depth


def linear_names(model: PreTrainedModel) -> list[str]:
    """Full names of all linear layers inside the stack of layers, in order."""
    path, _ = layers_of(model)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and name.startswith(f"{path}.")
    ]
