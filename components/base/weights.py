"""Check the weights of a base."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedModel

from components.base.config import BaseConfig


def refuse_missing(config: BaseConfig, model: PreTrainedModel, missing: Iterable[str]) -> None:
    """Refuse files that lack weights: transformers draws them at random, anew in every process."""
    own = {name for name, _ in model.named_parameters()}
    # A pooler is often left out of a checkpoint, and no state comes from it.
    lost = sorted(name for name in missing if name in own and "pooler" not in name.split("."))
    if lost:
        raise ValueError(
            f"base.model {config.model!r} cannot be loaded: its files lack {len(lost)} weights of "
            f"a {type(model).__name__}, {lost[0]!r} among them"
        )
