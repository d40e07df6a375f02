"""Activation checkpointing: the same gradients from less that is kept."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, BertConfig, GPT2Config, PretrainedConfig, Qwen3Config

from components.adapter.family_lora import FamilyLora
from components.adapter.lora import Lora
from components.adapter.unfrozen import Unfrozen
from components.base.model import Base
from components.base.structure import layers_of
from components.interface import Adapter, AdapterConfig
from components.ragged import Tokens
from tests.components.conftest import SIZES

MODELS: dict[str, PretrainedConfig] = {
    "packed decoder": Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8),
    "packed encoder": BertConfig(**SIZES),
    "padded decoder": GPT2Config(n_layer=3, n_embd=32, n_head=4, vocab_size=120, n_positions=64),
}
ADAPTERS: dict[str, AdapterConfig] = {
    "lora": Lora(targets="all-linear", dropout=0.3),
    "family_lora": FamilyLora(targets="all-linear", shared=True, dropout=0.3),
    "unfrozen": Unfrozen(embeddings=True),
    "the last layer": Unfrozen(last_layers=1),
}


@pytest.fixture(params=MODELS)
def base(request: pytest.FixtureRequest) -> Base:
    model = AutoModel.from_config(copy.deepcopy(MODELS[request.param]))
    made = Base(model, None, 32)  # nothing is tokenized here
    if "packed" in request.param:
        assert made.pack()
    assert bool(made._replacements) == (request.param == "packed decoder")
    return made


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest, base: Base) -> Adapter:
    built = ADAPTERS[request.param].build(base.model, ("cjk", "latin"))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return built.train()


def run(base: Base, adapter: Adapter, tokens: Tokens, again: bool) -> tuple[list[Any], int]:
    """Output and gradients, and how many bytes are kept for the backward pass."""
    torch.manual_seed(1)
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    family = torch.arange(len(tokens.offsets) - 1) % 3
    with base.recomputed() if again else nullcontext():
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            out = base(tokens, family).values_TD
        weight = torch.linspace(-1, 1, out.numel()).view_as(out)
        (out * weight).sum().backward()
    grads = [parameter.grad for parameter in adapter.parameters()]
    for parameter in adapter.parameters():
        parameter.grad = None
    return [out.detach(), *grads], sum(kept.values())


def test_gradients_are_the_same_and_less_is_kept(
    base: Base, adapter: Adapter, tokens: Tokens
) -> None:
    plain, much = run(base, adapter, tokens, again=False)
    recomputed, little = run(base, adapter, tokens, again=True)
    for one, other in zip(plain, recomputed, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)
    assert sum(one is not None for one in plain) > 1
    if adapter.boundary == 0:
        assert little < 0.7 * much


def test_afterwards_the_layers_are_as_they_were(base: Base, tokens: Tokens) -> None:
    layers = layers_of(base.model)[1]
    before = [dict(vars(layer)) for layer in layers]
    with base.recomputed():
        base(tokens)
    assert [dict(vars(layer)) for layer in layers] == before
