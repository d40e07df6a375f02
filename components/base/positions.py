"""Find the longest sequence that a model can run."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel


def last_position(model: PreTrainedModel) -> int | None:
    """Find the most tokens that a model has positions for.

    A table of learned positions has a row a position, but some models use the first row only after
    an offset: RoBERTa, MPNet and ESM begin behind the table's padding index, OPT and BioGPT add the
    table's ``offset``. Some keep a list of positions, ``position_ids``, that is shorter than the
    table. Models without a table (rotary or relative positions) have no such end; theirs is the
    length that they were made for, ``max_position_embeddings``.

    Args:
        model: only shapes are read, so it may be on the meta device.

    Returns:
        The number of tokens, or None where neither a table nor the settings limit it.
    """
    ends = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and _holds_positions(name):
            first = getattr(module, "offset", 0)
            if module.padding_idx is not None:
                first = module.padding_idx + 1
            ends.append(module.num_embeddings - first)
            beside = model.get_submodule(name.rpartition(".")[0])
            listed = dict(beside.named_buffers(recurse=False)).get("position_ids")
            if listed is not None:
                ends.append(listed.numel())
    if ends:
        return min(ends)
    made_for = getattr(model.config, "max_position_embeddings", None)
    return made_for if isinstance(made_for, int) and made_for > 0 else None


def _holds_positions(name: str) -> bool:
    """Whether a table of this name is of absolute positions (``wpe`` is GPT-2's)."""
    attribute = name.rpartition(".")[2]
    return attribute == "wpe" or "pos" in attribute
