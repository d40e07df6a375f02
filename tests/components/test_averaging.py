"""The average of adapters against the mean of what each of them does to the base."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import AutoModel, GPT2Config, PreTrainedModel

from components.adapter.family_lora import FamilyLora
from components.adapter.lora import Lora
from components.adapter.none import NoAdapterConfig
from components.adapter.unfrozen import Unfrozen
from components.averaging import mean_of
from components.interface import Adapter, AdapterConfig
from tests.components.conftest import CONFIGS

FAMILIES = ("cjk", "indic")
RUNS = 3
MERGED: dict[str, AdapterConfig] = {
    "none": NoAdapterConfig(),
    "all weights": Unfrozen(embeddings=True),
    "the last layer": Unfrozen(last_layers=1),
    "lora": Lora(rank=2, targets="all-linear"),
    "lora with alpha": Lora(rank=2, alpha=5.0, targets="all-linear"),
    "rslora": Lora(rank=2, alpha=5.0, rslora=True, targets="all-linear", last_layers=1),
    "lora with dropout": Lora(rank=2, dropout=0.3),
}
LOW_RANK: dict[str, AdapterConfig] = {
    "dora": Lora(rank=2, dora=True, targets="all-linear"),
    "families": FamilyLora(rank=2, targets="all-linear"),
    "families, shared": FamilyLora(rank=2, shared=True, rslora=True, alpha=3.0),
}


@pytest.fixture(params=[*CONFIGS, "conv1d"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """As `model`, and GPT-2, whose linear layers hold their weights the other way round."""
    gpt2 = GPT2Config(n_layer=3, n_embd=32, n_head=4, vocab_size=120, n_positions=64)
    made: PreTrainedModel = AutoModel.from_config(copy.deepcopy(CONFIGS.get(request.param, gpt2)))
    return made.eval()


def build(
    config: AdapterConfig, model: PreTrainedModel, weights: dict[str, Tensor] | None = None
) -> tuple[PreTrainedModel, Adapter]:
    """An adapter in a copy of the model, with given or random weights."""
    own = copy.deepcopy(model)
    with warnings.catch_warnings():  # PEFT tells that it transposes GPT-2's weights
        warnings.simplefilter("ignore")
        adapter = config.build(own, FAMILIES)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            parameter.copy_(torch.randn_like(parameter) if weights is None else weights[name])
    return own, adapter


def weights_of(adapter: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in adapter.named_parameters()}


@pytest.mark.parametrize("config", MERGED.values(), ids=MERGED)
def test_merged_it_is_the_mean_of_the_merged_runs(
    config: AdapterConfig, model: PreTrainedModel
) -> None:
    runs, merged = [], []
    for _ in range(RUNS):
        own, adapter = build(config, model)
        runs.append(weights_of(adapter))
        adapter.merge()
        merged.append(own.state_dict())
    averaged, weights = config.average(runs)
    assert type(averaged) is type(config)
    own, adapter = build(averaged, model, weights)
    assert weights_of(adapter).keys() == weights.keys()
    adapter.merge()
    for name, value in own.state_dict().items():
        wanted = torch.stack([one[name].double() for one in merged]).mean(0)
        torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("config", LOW_RANK.values(), ids=LOW_RANK)
def test_every_update_is_the_mean_of_the_runs_updates(
    config: AdapterConfig, model: PreTrainedModel
) -> None:
    def updates(inside: PreTrainedModel) -> dict[str, Tensor]:
        return {
            f"{path} {name}": layer.get_delta_weight(name).detach()
            for path, layer in inside.named_modules()
            if isinstance(layer, LoraLayer)
            for name in layer.lora_A
        }

    runs, found = [], []
    for _ in range(RUNS):
        own, adapter = build(config, model)
        runs.append(weights_of(adapter))
        found.append(updates(own))
    averaged, weights = config.average(runs)
    own, adapter = build(averaged, model, weights)
    after = updates(own)
    assert after.keys() == found[0].keys() and after
    for name, update in after.items():
        wanted = torch.stack([one[name] for one in found]).mean(0)
        torch.testing.assert_close(update, wanted, rtol=1e-5, atol=1e-5, msg=name)
    for name in (name for name in weights if "magnitude" in name):
        wanted = torch.stack([run[name] for run in runs]).mean(0)
        torch.testing.assert_close(weights[name], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("config", [*MERGED.values(), *LOW_RANK.values()], ids=[*MERGED, *LOW_RANK])
def test_the_runs_stay_as_they_are(config: AdapterConfig) -> None:
    model: PreTrainedModel = AutoModel.from_config(copy.deepcopy(CONFIGS["encoder"])).eval()
    run: dict[str, Tensor] = weights_of(build(config, model)[1])
    before = {name: weight.clone() for name, weight in run.items()}
    settings: dict[str, Any] = config.model_dump()
    config.average([run, run])
    assert config.model_dump() == settings
    for name, weight in run.items():
        assert torch.equal(weight, before[name])


def test_the_mean_of_tensors() -> None:
    tensors = [torch.randn(3, 4) for _ in range(5)]
    torch.testing.assert_close(mean_of(tensors), torch.stack(tensors).mean(0))
    assert torch.equal(mean_of(tensors[:1]), tensors[0])
