"""Small real models and packed batches of mixed lengths."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, BertConfig, PretrainedConfig, PreTrainedModel, Qwen3Config

from components.embedded import Embedded
from components.ragged import States, Tokens

SIZES = {
    "vocab_size": 120,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
CONFIGS: dict[str, PretrainedConfig] = {
    "decoder": Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8),
    "encoder": BertConfig(**SIZES),
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(params=sorted(CONFIGS))
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A causal and a bidirectional transformer of three layers, with random weights."""
    made: PreTrainedModel = AutoModel.from_config(copy.deepcopy(CONFIGS[request.param]))
    return made.eval()


@pytest.fixture
def tokens() -> Tokens:
    """Nine sentences of 1 to 23 tokens."""
    lengths = [7, 1, 23, 4, 4, 2, 15, 9, 1]
    return Tokens.of([torch.randint(5, 120, (n,)).tolist() for n in lengths])


@pytest.fixture
def states(tokens: Tokens) -> States:
    """States of the nine sentences, 16 wide, with gradients."""
    return States(torch.randn(len(tokens.ids_T), 16, requires_grad=True), tokens.offsets)


def embedded(
    anchor: Tensor,
    positive: Tensor,
    number: Tensor,
    negative: Tensor | None = None,
    negative_number: Tensor | None = None,
    teachers: dict[str, Tensor] | None = None,
) -> Embedded:
    """A batch in which pairs and mined negatives with equal numbers are the same sentence."""
    pairs = torch.cat([number, number])
    whole = pairs if negative_number is None else torch.cat([pairs, negative_number])
    is_same = pairs.unsqueeze(1) == whole
    return Embedded(anchor, positive, is_same, negative, teachers or {})


def some_same(size: int, mined: int) -> Tensor:
    """A random `Embedded.is_same`: symmetric and not transitive; pairs are the same, of course."""
    total = 2 * size + mined
    same = torch.rand(total, total) < 0.15
    same |= same.T | torch.eye(total, dtype=torch.bool)
    pair = torch.arange(size)
    same[pair, size + pair] = same[size + pair, pair] = True
    return same[: 2 * size]
