"""Find the longest sequence that a model can run."""

from __future__ import annotations

from transformers import PreTrainedConfig

from components.base.config import BaseConfig


def max_length(config: BaseConfig, settings: PreTrainedConfig) -> int:
    """The setting, but never past the last position the model has."""
    positions = getattr(settings, "max_position_embeddings", None)
    if not isinstance(positions, int):
        return config.max_length
    # RoBERTa and its kin start counting positions after the padding index.
    offset = (settings.pad_token_id or 0) + 1 if "roberta" in settings.model_type else 0
    return min(config.max_length, positions - offset)
