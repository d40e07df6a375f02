"""Which parameters weight decay shrinks: every kind of every component, whole lists."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, Qwen3Config

from components.config import Config, variants
from components.decay import split_parameters, undecayed_names
from components.interface import AdapterConfig, HeadConfig, LossConfig, PoolingConfig
from tests.components.conftest import SIZES

CLASSES: dict[str, type[Config]] = {
    "pooling": PoolingConfig, "head": HeadConfig, "adapter": AdapterConfig, "loss": LossConfig
}  # fmt: skip
KINDS = {family: variants(f"components.{family}", base) for family, base in CLASSES.items()}
FAMILIES = ("cjk", "latin")
LORA = {"targets": ["q_proj"], "last_layers": 1}
EVERY_POOLING = {"attention": 1.0, "latent_attention": 1.0, "max": 1.0}

# family, settings -> what decays, and what does not.
Lists = tuple[list[str], list[str]]
EXPECTED: list[tuple[str, dict[str, Any], Lists]] = [
    *(("pooling", {"kind": kind}, ([], [])) for kind in
      ("cls", "last", "length_mean", "max", "mean", "position_weighted")),
    ("pooling", {"kind": "attention", "heads": 4}, ([], ["query_HK"])),
    ("pooling", {"kind": "latent_attention", "hidden": 5},
     (["up.weight", "down.weight"],
      ["latents_HRK", "norm.weight", "norm.bias", "up.bias", "down.bias"])),
    ("pooling", {"kind": "weighted", "learned": True, "weights": EVERY_POOLING},
     (["parts.1.up.weight", "parts.1.down.weight"],
      ["weight_P", "parts.0.query_HK", "parts.1.latents_HRK", "parts.1.norm.weight",
       "parts.1.norm.bias", "parts.1.up.bias", "parts.1.down.bias"])),
    ("head", {"kind": "identity"}, ([], [])),
    ("head", {"kind": "linear", "width": 6}, (["linear.weight"], ["linear.bias"])),
    ("head", {"kind": "mlp", "width": 6},
     (["up.weight", "down.weight"], ["up.bias", "down.bias"])),
    ("head", {"kind": "moe", "width": 6},
     (["gate.weight", "project.weight"], ["project.bias"])),
    ("head", {"kind": "family", "width": 6},
     (["shared.weight", "own.0.weight", "own.1.weight"],
      ["shared.bias", "own.0.bias", "own.1.bias"])),
    ("head", {"kind": "residual", "width": 6, "depth": 1},
     (["enter.weight", "blocks.0.weight", "leave.weight"],
      ["enter.bias", "blocks.0.bias", "norms.0.weight", "norms.0.bias", "leave.bias"])),
    ("adapter", {"kind": "none"}, ([], [])),
    ("adapter", {"kind": "lora", "dora": True} | LORA,
     (["lora_A/default/weight", "lora_B/default/weight"],
      ["lora_magnitude_vector/default/weight"])),
    ("adapter", {"kind": "family_lora", "shared": True} | LORA,
     ([f"lora_{side}/{name}/weight" for side in "AB"
       for name in ("shared", "family-cjk", "family-latin")], [])),
    ("adapter", {"kind": "unfrozen", "last_layers": 1, "embeddings": True},
     (["embed_tokens/weight", *(f"self_attn/{name}_proj/weight" for name in "kqvo"),
       *(f"mlp/{name}_proj/weight" for name in ("gate", "up", "down"))],
      ["self_attn/q_norm/weight", "self_attn/k_norm/weight", "input_layernorm/weight",
       "post_attention_layernorm/weight", "norm/weight"])),
    *(("loss", {"kind": kind}, ([], [])) for kind in ("circle", "mnrl", "triplet")),
    ("loss", {"kind": "info_nce", "learned": True}, ([], ["log_temperature"])),
    ("loss", {"kind": "distillation", "teacher": "a"}, (["map.weight"], [])),
    *(("loss", {"kind": kind, "teacher": "a"}, ([], [])) for kind in
      ("gist", "kl_distillation", "margin_mse")),
    ("loss", {"kind": "sum", "weights": {"info_nce": 1.0, "distillation": 1.0},
              "settings": {"info_nce": {"learned": True}, "distillation": {"teacher": "a"}}},
     (["parts.1.map.weight"], ["parts.0.log_temperature"])),
]  # fmt: skip


def build(family: str, settings: dict[str, Any]) -> nn.Module:
    config: Any = KINDS[family][settings["kind"]].model_validate(settings)
    if family == "adapter":
        model = AutoModel.from_config(Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8))
        model.requires_grad_(False)
        built: nn.Module = config.build(model, FAMILIES)
    elif family == "head":
        built = config.build(16, FAMILIES)
    else:
        built = config.build(16, {"a": 24}) if family == "loss" else config.build(16)
    return built


@pytest.mark.parametrize(
    ("family", "settings", "lists"), EXPECTED, ids=[f"{f} {s['kind']}" for f, s, _ in EXPECTED]
)
def test_what_decays(family: str, settings: dict[str, Any], lists: Lists) -> None:
    module = build(family, settings)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    decayed, kept = (
        # An adapter's names begin with where its layer stands in the base.
        [re.sub(r"^.*layers/2/(self_attn/q_proj/(?=lora_))?", "", names[id(p)]) for p in part]
        for part in split_parameters(module)
    )
    assert (sorted(decayed), sorted(kept)) == tuple(map(sorted, lists))


def test_every_kind_is_listed() -> None:
    listed = {(family, settings["kind"]) for family, settings, _ in EXPECTED}
    assert listed == {(family, kind) for family, kinds in KINDS.items() for kind in kinds}


def test_what_does_not_train_is_in_neither_list_and_order_is_that_of_the_module() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.LayerNorm(2))
    module[0].requires_grad_(False)
    decayed, kept = split_parameters(module)
    assert [p is q for p, q in zip(decayed, [module[1].weight], strict=True)] == [True]
    assert all(
        p is q
        for p, q in zip(kept, [module[1].bias, module[2].weight, module[2].bias], strict=True)
    )
    assert undecayed_names(module) == {"0.bias", "1.bias", "2.weight", "2.bias"}


def test_a_declared_name_that_the_module_lacks_is_a_fault_of_the_component() -> None:
    class Wrong(nn.Module):
        undecayed = ("qeury",)

        def __init__(self) -> None:
            super().__init__()
            self.query = nn.Parameter(torch.zeros(2, 2))

    with pytest.raises(AssertionError, match=r"Wrong\.undecayed names no attribute: \['qeury'\]"):
        undecayed_names(Wrong())
