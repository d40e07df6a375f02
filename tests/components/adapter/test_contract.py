"""What every adapter must do, without naming one."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from components.base.structure import layers_of
from components.interface import AdapterConfig, variants

KINDS = variants("components.adapter", AdapterConfig)


@pytest.fixture(params=list(KINDS))
def config(request: pytest.FixtureRequest) -> AdapterConfig:
    made = KINDS[request.param]()
    assert isinstance(made, AdapterConfig)
    return made


IDS = torch.tensor([[7, 8, 9, 10, 11]])


def run(model: PreTrainedModel) -> torch.Tensor:
    out: torch.Tensor = model(input_ids=IDS, output_hidden_states=True).hidden_states
    return torch.stack(tuple(out))


@torch.no_grad()
def test_removed_it_leaves_no_trace(config: AdapterConfig, model: PreTrainedModel) -> None:
    before, weights = run(model), {k: v.clone() for k, v in model.state_dict().items()}
    kinds = [(name, type(module)) for name, module in model.named_modules()]
    for _ in range(2):  # a second trial must find what the first one found
        adapter = config.build(model)
        assert torch.equal(run(model), before), "training starts at the base itself"
        for parameter in adapter.parameters():
            parameter.normal_()
        adapter.remove()
        assert torch.equal(run(model), before)
        assert [(name, type(module)) for name, module in model.named_modules()] == kinds
        assert model.state_dict().keys() == weights.keys()
        for name, value in model.state_dict().items():
            assert torch.equal(value, weights[name]), name
        assert not hasattr(model, "peft_config")


@torch.no_grad()
def test_merged_it_computes_the_same_with_plain_layers(
    config: AdapterConfig, model: PreTrainedModel
) -> None:
    names = set(model.state_dict())
    adapter = config.build(model)
    for parameter in adapter.parameters():
        parameter.normal_(std=0.1)
    expected = run(model)
    adapter.merge()
    assert set(model.state_dict()) == names
    torch.testing.assert_close(run(model), expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_below_its_boundary_nothing_changes(config: AdapterConfig, model: PreTrainedModel) -> None:
    before = run(model)
    adapter = config.build(model)
    for parameter in adapter.parameters():
        parameter.normal_()
    assert 0 <= adapter.boundary <= len(layers_of(model)[1])
    assert torch.equal(run(model)[: adapter.boundary + 1], before[: adapter.boundary + 1])


def test_only_the_adapter_asks_for_gradients(config: AdapterConfig, model: PreTrainedModel) -> None:
    adapter = config.build(model)
    mine = {id(parameter) for parameter in adapter.parameters()}
    wanted = {id(p) for p in model.parameters() if p.requires_grad}
    assert wanted == mine or not mine
