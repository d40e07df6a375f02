"""What every adapter must do, without naming one."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, PreTrainedModel

from components.base.routing import routed
from components.base.structure import layers_of
from components.config import Config, variants
from components.interface import Adapter, AdapterConfig

KINDS = variants("components.adapter", AdapterConfig)
IDS = torch.tensor([[7, 8, 9, 10, 11]])
FAMILIES = ("cjk", "indic", "latin")


def configs() -> list[AdapterConfig]:
    """Every kind as it is by default, with each of its switches turned over, and with all."""
    made: list[Config] = []
    for kind, config in KINDS.items():
        switches = {n: f.default for n, f in config.model_fields.items() if f.annotation is bool}
        turned = {name: not value for name, value in switches.items()}
        changes = [{}, *({name: value} for name, value in turned.items())]
        changes += [turned] if len(turned) > 1 else []
        made += [config.model_validate({"kind": kind} | change) for change in changes]
    return [config for config in made if isinstance(config, AdapterConfig)]


def name_of(config: AdapterConfig) -> str:
    settings = config.model_dump(exclude={"kind"}, exclude_defaults=True)
    return " ".join([config.kind, *(f"{name}={value}" for name, value in settings.items())])


@pytest.fixture(params=configs(), ids=name_of)
def config(request: pytest.FixtureRequest) -> AdapterConfig:
    made = request.param
    assert isinstance(made, AdapterConfig)
    return made


def build(config: AdapterConfig, model: PreTrainedModel) -> Adapter:
    return config.build(model, FAMILIES)


@torch.no_grad()
def build_trained(config: AdapterConfig, model: PreTrainedModel) -> Adapter:
    """The adapter, away from its start, where it changes nothing."""
    adapter = build(config, model)
    for parameter in adapter.parameters():
        parameter.normal_(std=0.1)
    return adapter


def run(model: PreTrainedModel) -> torch.Tensor:
    # Tokens of every family but one, and one of none: an adapter's weights all have to take part.
    with routed(torch.tensor([0, 2, 1, 3, 0])):
        out: torch.Tensor = model(input_ids=IDS, output_hidden_states=True).hidden_states
    return torch.stack(tuple(out))


@torch.no_grad()
def test_removed_it_leaves_no_trace(config: AdapterConfig, model: PreTrainedModel) -> None:
    before, weights = run(model), {k: v.clone() for k, v in model.state_dict().items()}
    kinds = [(name, type(module)) for name, module in model.named_modules()]
    attributes, settings = set(vars(model)), model.config.to_dict()
    for _ in range(2):  # a second trial must find what the first one found
        adapter = build(config, model)
        assert torch.equal(run(model), before), "training starts at the base itself"
        for parameter in adapter.parameters():
            parameter.normal_()
        adapter.remove()
        assert torch.equal(run(model), before)
        assert [(name, type(module)) for name, module in model.named_modules()] == kinds
        assert model.state_dict().keys() == weights.keys()
        for name, value in model.state_dict().items():
            assert torch.equal(value, weights[name]), name
        assert set(vars(model)) == attributes
        assert model.config.to_dict() == settings
        assert not any(module.training for module in model.modules())


def test_trains_says_whether_there_are_parameters(
    config: AdapterConfig, model: PreTrainedModel
) -> None:
    adapter = build(config, model)
    assert config.trains == bool(list(adapter.parameters()))
    adapter.remove()


@torch.no_grad()
def test_merged_it_computes_the_same_with_plain_layers(
    config: AdapterConfig, model: PreTrainedModel, tmp_path: Path
) -> None:
    before, kinds = run(model), [(name, type(module)) for name, module in model.named_modules()]
    adapter = build_trained(config, model)
    adapter.folders(tmp_path)
    # What has weights for each family cannot be merged: it leaves the base as it was, and folders.
    assert bool(list(tmp_path.iterdir())) == config.routes
    expected = before if config.routes else run(model)
    assert torch.equal(before, run(model)) == (not list(adapter.parameters()))
    adapter.merge()
    assert [(name, type(module)) for name, module in model.named_modules()] == kinds
    torch.testing.assert_close(run(model), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_average_of_equal_runs_is_that_run(
    config: AdapterConfig, model: PreTrainedModel
) -> None:
    adapter = build_trained(config, model)
    weights = {name: parameter.clone() for name, parameter in adapter.named_parameters()}
    expected = run(model)
    adapter.remove()
    averaged, mean = config.average([weights] * 3)
    adapter = build(averaged, model)
    assert [name for name, _ in adapter.named_parameters()] == list(mean)
    for name, parameter in adapter.named_parameters():
        parameter.copy_(mean[name])
    torch.testing.assert_close(run(model), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_routes_says_whether_the_family_matters(
    config: AdapterConfig, model: PreTrainedModel
) -> None:
    build_trained(config, model)
    outs = []
    for family in range(len(FAMILIES) + 1):
        with routed(torch.full_like(IDS[0], family)):
            outs.append(model(input_ids=IDS).last_hidden_state)
    for index, out in enumerate(outs):
        for other in outs[:index]:
            assert torch.equal(out, other) == (not config.routes)


def test_writing_folders_changes_nothing(
    config: AdapterConfig, model: PreTrainedModel, tmp_path: Path
) -> None:
    model.requires_grad_(False)
    adapter = build(config, model)
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.1)

    def gradients() -> list[torch.Tensor]:
        out = run(model)[-1]
        trained = list(adapter.parameters())
        return [out, *torch.autograd.grad(out.square().sum(), trained)] if trained else [out]

    before = gradients()
    adapter.folders(tmp_path / "folders")
    for one, two in zip(gradients(), before, strict=True):
        assert torch.equal(one, two)
    mine = {id(parameter) for parameter in adapter.parameters()}
    assert {id(p) for p in model.parameters() if p.requires_grad} <= mine


@torch.no_grad()
def test_below_its_boundary_nothing_changes(config: AdapterConfig, model: PreTrainedModel) -> None:
    before = run(model)
    adapter = build(config, model)
    for parameter in adapter.parameters():
        parameter.normal_()
    assert 0 <= adapter.boundary <= len(layers_of(model)[1])
    if adapter.boundary:  # what enters the first layer is never stored
        assert torch.equal(run(model)[: adapter.boundary + 1], before[: adapter.boundary + 1])


def test_gradients_reach_the_adapter_and_nothing_else(
    config: AdapterConfig, model: PreTrainedModel
) -> None:
    model.requires_grad_(False)  # as a base is
    adapter = build(config, model)
    mine = {id(parameter) for parameter in adapter.parameters()}
    assert {id(p) for p in model.parameters() if p.requires_grad} <= mine
    if not mine:
        return
    optimizer = torch.optim.SGD(adapter.parameters(), lr=1.0)
    for _ in range(2):  # a low-rank update's one half waits until the other has left zero
        optimizer.zero_grad()
        out = run(model)[-1]
        (out * torch.randn_like(out)).sum().backward()
        optimizer.step()
    for name, parameter in adapter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    assert all(p.grad is None for p in model.parameters() if id(p) not in mine)
    adapter.remove()
    assert not any(p.requires_grad for p in model.parameters())


def test_in_bfloat16_gradients_are_finite(config: AdapterConfig, model: PreTrainedModel) -> None:
    model.to(torch.bfloat16).requires_grad_(False)
    adapter = build(config, model)
    trained = list(adapter.parameters())
    for parameter in trained:
        torch.nn.init.normal_(parameter, std=0.1)
    out = run(model)[-1]
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()
    if trained:
        for grad in torch.autograd.grad((out * torch.randn_like(out)).sum(), trained):
            assert grad.isfinite().all()
    adapter.remove()
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_a_seed_gives_the_same_weights_whatever_came_before(
    config: AdapterConfig, model: PreTrainedModel
) -> None:
    drawn = []
    for _ in range(2):
        torch.manual_seed(7)
        adapter = build(config, model)
        drawn.append({name: p.detach().clone() for name, p in adapter.named_parameters()})
        for parameter in adapter.parameters():
            torch.nn.init.normal_(parameter)
        adapter.remove()
    assert drawn[0].keys() == drawn[1].keys()
    for name, value in drawn[0].items():
        assert torch.equal(value, drawn[1][name]), name


def test_the_meta_device_counts_as_the_real_one_does(
    config: AdapterConfig, model: PreTrainedModel
) -> None:
    with torch.device("meta"):
        shadow = build(config, AutoModel.from_config(copy.deepcopy(model.config)))
    shapes = [
        {name: p.shape for name, p in adapter.named_parameters()}
        for adapter in (shadow, build(config, model))
    ]
    assert shapes[0] == shapes[1]
    assert all(p.is_meta for p in shadow.parameters())
