"""Where models keep their layers."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AlbertConfig, AutoModel, GPT2Config, PreTrainedModel, Qwen3MoeConfig

from components.base.structure import depth_of, layers_of, linear_names
from tests.components.conftest import SIZES


def test_the_stack_and_all_linear_layers_in_it(model: PreTrainedModel) -> None:
    name, stack = layers_of(model)
    assert name == {"qwen3": "layers", "bert": "encoder.layer"}[model.config.model_type]
    assert stack is model.get_submodule(name)
    inside = [
        f"{name}.{inner}"
        for inner, module in stack.named_modules()
        if isinstance(module, torch.nn.Linear)
    ]
    assert linear_names(model) == inside
    assert len(inside) == 3 * {"qwen3": 7, "bert": 6}[model.config.model_type]


def test_gpt2_keeps_its_linear_layers_in_another_class() -> None:
    sizes = {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 120}
    model = AutoModel.from_config(GPT2Config(**sizes, bos_token_id=1, eos_token_id=1))
    assert layers_of(model)[0] == "h"
    kinds = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    assert linear_names(model) == [f"h.{layer}.{kind}" for layer in (0, 1) for kind in kinds]


def test_a_list_inside_a_layer_may_be_as_long_as_the_stack(model: PreTrainedModel) -> None:
    path, stack = layers_of(model)
    stack[1].experts = torch.nn.ModuleList(torch.nn.Linear(32, 32) for _ in range(len(stack)))
    assert layers_of(model) == (path, stack)


def test_a_mixture_of_experts_has_one_stack() -> None:
    settings = Qwen3MoeConfig(**SIZES, num_key_value_heads=2, num_experts=3, head_dim=8)
    with torch.device("meta"):
        assert layers_of(AutoModel.from_config(settings))[0] == "layers"


def test_layers_that_share_weights_are_as_many_as_their_groups() -> None:
    with torch.device("meta"):
        shared = AutoModel.from_config(AlbertConfig(**SIZES))  # one layer, run again and again
    name, stack = layers_of(shared)
    assert (name, len(stack)) == ("encoder.albert_layer_groups", 1)
    assert depth_of(shared) == 3
    assert len(linear_names(shared)) == 6


def test_two_stacks_or_none_are_refused(model: PreTrainedModel) -> None:
    deeper = copy.deepcopy(model)
    deeper.config.num_hidden_layers = 5
    with pytest.raises(ValueError, match=r"Model with 0 stacks of layers; it must be"):
        layers_of(deeper)
    model.other = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(3))
    with pytest.raises(ValueError, match="with 2 stacks of layers"):
        layers_of(model)
