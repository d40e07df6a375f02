"""What every head must do, without naming one."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer import modules as stock
from torch import Tensor, nn
from torch.nn import functional as F

from components.config import Config, variants
from components.head.mlp import Mlp
from components.head.residual import ResidualHead
from components.interface import Head, HeadConfig
from components.projection import WideHeadConfig

KINDS = variants("components.head", HeadConfig)
FAMILIES = ("latin", "indic", "cjk")
NONE = len(FAMILIES)


def configs() -> list[HeadConfig]:
    """Every kind as it is by default, and with each of its switches turned over."""
    made: list[Config] = []
    for kind, config in KINDS.items():
        narrow: dict[str, Any] = {"kind": kind}
        if issubclass(config, WideHeadConfig):
            narrow["width"] = 6
        switches = {n: f.default for n, f in config.model_fields.items() if f.annotation is bool}
        changes = [{}, *({name: not value} for name, value in switches.items())]
        made += [config.model_validate(narrow | change) for change in changes]
    return [config for config in made if isinstance(config, HeadConfig)]


def name_of(config: HeadConfig) -> str:
    settings = config.model_dump(exclude={"kind", "width"}, exclude_defaults=True)
    return " ".join([config.kind, *(f"{k}={v}" for k, v in settings.items())])


@pytest.fixture(params=configs(), ids=name_of)
def config(request: pytest.FixtureRequest) -> HeadConfig:
    made = request.param
    assert isinstance(made, HeadConfig)
    return made


@pytest.fixture
def head(config: HeadConfig) -> Head:
    return config.build(16, FAMILIES)


@pytest.fixture
def moved(head: Head) -> Head:
    """A head that has left its start, where parts of it may be zero."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
    return head


def test_shape_gradients_and_order(config: HeadConfig, moved: Head) -> None:
    pooled = torch.randn(5, 16, requires_grad=True)
    before = pooled.detach().clone()
    family = torch.tensor([0, 1, NONE, 1, 2])
    out = moved(pooled, family)
    assert out.shape == (5, config.out(16))
    assert out.dtype == torch.float32
    (out * torch.randn_like(out)).sum().backward()
    assert torch.equal(pooled, before)
    assert torch.equal(family, torch.tensor([0, 1, NONE, 1, 2]))
    assert pooled.grad is not None
    assert pooled.grad.isfinite().all()
    assert (pooled.grad.abs().sum(1) > 0).all()
    for name, parameter in moved.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(moved(pooled[order], family[order]), out[order], rtol=0, atol=1e-6)
    torch.testing.assert_close(moved(pooled[:1], family[:1]), out[:1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", [[NONE], [2, 2], [0, 0, NONE]])
def test_every_parameter_has_a_gradient_whatever_families_a_batch_lacks(
    head: Head, family: list[int]
) -> None:
    pooled = torch.randn(len(family), 16)
    out = head(pooled, torch.tensor(family))
    if not list(head.parameters()):
        assert not out.requires_grad
        return
    out.square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_nothing_is_stuck_where_it_starts(head: Head) -> None:
    """A part that starts at zero learns from the first batch on."""
    out = head(torch.randn(5, 16), torch.tensor([0, 1, NONE, 1, 2]))
    weighted = (out * torch.randn_like(out)).sum()
    for name, parameter in head.named_parameters():
        (gradient,) = torch.autograd.grad(weighted, parameter, retain_graph=True)
        assert gradient.any(), name


def test_routes_says_whether_the_family_matters(config: HeadConfig, moved: Head) -> None:
    pooled = torch.randn(1, 16)
    outs = [moved(pooled, torch.tensor([family])) for family in range(NONE + 1)]
    for i in range(len(outs)):
        for j in range(i):
            assert torch.equal(outs[i], outs[j]) == (not config.routes)


def test_ignores_scale_says_whether_the_length_matters(config: HeadConfig, moved: Head) -> None:
    pooled, family = torch.randn(4, 16), torch.tensor([0, 1, 2, NONE])
    once, thrice = (F.normalize(moved(pooled * scale, family)) for scale in (1, 3))
    assert ((once - thrice).abs().max() < 1e-5) == config.ignores_scale


def test_routing_is_of_each_sentence_and_the_penalty_of_the_whole_batch(moved: Head) -> None:
    pooled = torch.randn(7, 16)
    routing = moved.routing(pooled)
    assert routing.ndim == 2
    assert len(routing) == 7
    assert routing.dtype == torch.float32
    # Parts of a batch, computed apart and laid end to end, must be the batch's routing.
    parts = torch.cat([moved.routing(pooled[:3]), moved.routing(pooled[3:])])
    torch.testing.assert_close(parts, routing, rtol=0, atol=1e-6)
    penalty = moved.penalty(routing)
    assert penalty.shape == ()
    assert penalty.dtype == torch.float32
    assert penalty.isfinite()
    shuffled = moved.penalty(routing[torch.tensor([6, 2, 0, 5, 1, 4, 3])])
    torch.testing.assert_close(shuffled, penalty, rtol=0, atol=1e-6)
    if routing.shape[1] == 0:
        assert penalty == 0
        return
    assert penalty > 0
    penalty.backward()
    reached = [p for p in moved.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert reached
    assert all(p.grad.isfinite().all() for p in reached if p.grad is not None)


def test_a_head_without_stock_modules_is_its_source_its_arguments_and_its_weights(
    moved: Head,
) -> None:
    if moved.stock() is not None:
        pytest.skip("described by stock modules")
    kind = type(moved)
    arguments = {name: getattr(moved, name) for name in inspect.signature(kind).parameters}
    assert json.loads(json.dumps(arguments)) == arguments
    names: dict[str, Any] = {"torch": torch, "nn": nn, "F": F, "Tensor": Tensor, "Head": nn.Module}
    exec("from __future__ import annotations\n" + inspect.getsource(kind), names)
    rebuilt = names[kind.__name__](**arguments)
    rebuilt.load_state_dict(moved.state_dict())
    pooled, family = torch.randn(5, 16), torch.tensor([0, 1, NONE, 1, 2])
    assert torch.equal(rebuilt(pooled, family), moved(pooled, family))


def test_stock_modules_give_the_same(moved: Head) -> None:
    described = moved.stock()
    if described is None:
        pytest.skip("no stock modules compute this")
    pooled = torch.randn(5, 16, requires_grad=True)
    features: dict[str, Any] = {"sentence_embedding": pooled}
    for part in described:
        arguments: dict[str, Any] = dict(part.arguments)
        if "activation_function" in arguments:
            arguments["activation_function"] = getattr(nn, arguments["activation_function"])()
        module = getattr(stock, part.type)(**arguments)
        module.load_state_dict(part.weights)
        features = module(features)
    got = moved(pooled, torch.zeros(5, dtype=torch.int64))
    expected = features["sentence_embedding"]
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    weight = torch.randn_like(got)
    mine, theirs = (torch.autograd.grad((out * weight).sum(), pooled)[0] for out in (got, expected))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_the_meta_device_counts_as_the_real_one_does(config: HeadConfig) -> None:
    with torch.device("meta"):
        shadow = config.build(16, FAMILIES)
    assert all(p.is_meta for p in shadow.parameters())
    real = config.build(16, FAMILIES)
    shapes = [{n: p.shape for n, p in h.named_parameters()} for h in (shadow, real)]
    assert shapes[0] == shapes[1]


def test_trains_says_whether_there_are_parameters(config: HeadConfig, head: Head) -> None:
    assert config.trains == bool(list(head.parameters()))


def test_a_head_is_built_without_families_too(config: HeadConfig) -> None:
    pooled, family = torch.randn(2, 16), torch.zeros(2, dtype=torch.int64)
    assert config.build(16)(pooled, family).shape == (2, config.out(16))


def wide_configs() -> list[WideHeadConfig]:
    return [config for config in configs() if isinstance(config, WideHeadConfig)]


def cosines(rows: Tensor) -> Tensor:
    unit = F.normalize(rows)
    return unit @ unit.T


@pytest.mark.parametrize("config", wide_configs(), ids=name_of)
@pytest.mark.parametrize("init", ["identity", "orthogonal"])
@pytest.mark.parametrize("out", [None, 16, 24])
def test_a_head_starts_with_the_cosines_of_the_base(
    config: WideHeadConfig, init: str, out: int | None
) -> None:
    head = config.model_copy(update={"width": out, "init": init}).build(16, FAMILIES)
    pooled, family = torch.randn(9, 16), torch.tensor([0, 1, NONE, 1, 2, 0, 0, 1, 2])
    if config.kind == "residual":
        pooled = pooled - pooled.mean(1, keepdim=True)  # what its layer norms remove
    embedded = head(pooled, family)
    assert embedded.shape == (9, out or 16)
    bound = 0.02 if config.kind == "residual" else 1e-5
    torch.testing.assert_close(cosines(embedded), cosines(pooled), rtol=0, atol=bound)


@pytest.mark.parametrize("config", wide_configs(), ids=name_of)
def test_a_narrow_head_starts_as_a_projection_onto_orthonormal_directions(
    config: WideHeadConfig,
) -> None:
    head = config.build(16, FAMILIES)  # 16 -> 6
    family = torch.full((16,), NONE)
    if config.kind == "residual":
        # Its layer norm is not linear: what counts is that sentences stay apart as they were.
        assert isinstance(head, ResidualHead)
        kept = F.normalize(head.enter.weight)[:6]
        torch.testing.assert_close(kept @ kept.T, torch.eye(6), rtol=0, atol=1e-5)
        return
    projection_DE = head(torch.eye(16), family) - head(torch.zeros(16, 16), family)
    torch.testing.assert_close(projection_DE.T @ projection_DE, torch.eye(6), rtol=0, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
def test_an_mlp_starts_linear_with_any_activation(activation: str) -> None:
    settings = {"kind": "mlp", "width": 8, "hidden": 40, "activation": activation}
    head = Mlp.model_validate(settings).build(8)
    pooled = torch.randn(50, 8)
    bound = 0.05 if activation == "tanh" else 1e-5
    torch.testing.assert_close(head(pooled, torch.zeros(50)), pooled, rtol=bound, atol=bound)


@pytest.mark.parametrize("config", wide_configs(), ids=name_of)
def test_random_weights_forget_the_space_of_the_base(config: WideHeadConfig) -> None:
    head = config.model_copy(update={"init": "random"}).build(16, FAMILIES)
    pooled = torch.randn(9, 16)
    embedded = head(pooled, torch.full((9,), NONE))
    assert (cosines(embedded) - cosines(pooled)).abs().max() > 0.05


def test_random_weights_are_those_of_torch() -> None:
    torch.manual_seed(3)
    head = KINDS["linear"].model_validate({"width": 6, "init": "random"})
    assert isinstance(head, HeadConfig)
    weight = next(head.build(16).parameters())
    torch.manual_seed(3)
    assert torch.equal(weight, nn.Linear(16, 6).weight)
