"""Bases without weights, on which parameters are counted. Imports torch late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.settings.problems import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# The shape of Qwen3-8B; a decoder of another width has its proportions.
WIDTH = 4096
LAYERS, HEAD_WIDTH, QUERIES_PER_KEY, INNER = 36, 128, 4, 3
LARGEST = 65_536


def build_decoder(width: int) -> tuple[PreTrainedModel, str]:
    """Build a decoder without weights (on the meta device); describe its shape."""
    # Imported here because they take seconds, which --help and a misspelt option do not need.
    import torch
    from transformers import AutoModel, Qwen3Config

    heads = width // HEAD_WIDTH
    # Four query heads share a key-value head, or the next larger divisor of their number.
    keys = next(n for n in range(max(1, heads // QUERIES_PER_KEY), 0, -1) if heads % n == 0)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModel.from_config(
            Qwen3Config(
                hidden_size=width,
                num_hidden_layers=LAYERS,
                num_attention_heads=heads,
                num_key_value_heads=keys,
                head_dim=HEAD_WIDTH,
                intermediate_size=INNER * width,
            )
        )
    model.requires_grad_(False)
    like = "Qwen3-8B's shape" if width == WIDTH else "Qwen3-8B's proportions"
    return model, (
        f"a decoder of {like}: width {width}, {LAYERS} layers, {heads} query and {keys} "
        f"key-value heads of {HEAD_WIDTH}, inner width {INNER * width}"
    )


def load_shape(base: str) -> tuple[PreTrainedModel, str]:
    """Build a model of a folder or hub name without weights; describe its shape.

    Raises:
        InputError: there is no such model.
    """
    if not base:
        raise InputError("--base is ''; it must name something")
    from components.base import BaseConfig, load_skeleton

    try:
        model = load_skeleton(BaseConfig(model=base)).model
    except ValueError as error:
        raise InputError(str(error).replace("base.model", "--base", 1)) from error
    config = model.config
    return model, f"{base}: width {config.hidden_size}, {config.num_hidden_layers} layers"
