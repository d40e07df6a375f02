"""Where a transformers model keeps its layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from transformers.pytorch_utils import Conv1D

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def layers_of(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Find the stack of layers: its name inside the model, and the stack.

    Raises:
        ValueError: the model has no one list of ``config.num_hidden_layers`` layers.
    """
    depth = getattr(model.config, "num_hidden_layers", None)
    stacks = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    # Lists inside a layer (experts, say) may be as long as the stack; the stack comes first and
    # the others lie in it.
    if not stacks or any(not name.startswith(f"{stacks[0][0]}.") for name, _ in stacks[1:]):
        raise ValueError(
            f"base.model is a {type(model).__name__} with {len(stacks)} stacks of layers; it must "
            f"be a decoder or an encoder with one"
        )
    return stacks[0]


def linear_names(model: PreTrainedModel) -> list[str]:
    """Full names of all linear layers inside the stack of layers, in order."""
    path, _ = layers_of(model)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and name.startswith(f"{path}.")
    ]
