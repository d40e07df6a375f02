"""Small real models and packed batches of mixed lengths."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModel, BertConfig, PretrainedConfig, PreTrainedModel, Qwen3Config

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
