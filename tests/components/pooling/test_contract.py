"""What every pooling must do, without naming one."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer import modules as stock

from components.config import variants
from components.interface import Pooling, PoolingConfig
from components.ragged import STATISTICS, States, Statistics

KINDS = variants("components.pooling", PoolingConfig)


@pytest.fixture(params=list(KINDS))
def config(request: pytest.FixtureRequest) -> PoolingConfig:
    made = KINDS[request.param]()
    assert isinstance(made, PoolingConfig)
    return made


@pytest.fixture
def pooling(config: PoolingConfig) -> Pooling:
    built = config.build(16)
    # Away from special starts, such as a query of zeros, but not so far that layers of many inputs
    # give numbers in which 1e-6 is nothing.
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return built


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shape_dtype_and_finite_gradients(
    pooling: Pooling, states: States, dtype: torch.dtype
) -> None:
    values = states.values_TD.detach().to(dtype).requires_grad_()
    before, cut = values.detach().clone(), states.offsets.clone()
    pooled = pooling(States(values, states.offsets))
    assert pooled.shape == (len(states), 16)
    assert pooled.dtype == torch.float32
    (pooled * torch.randn_like(pooled)).sum().backward()
    assert torch.equal(values, before)
    assert torch.equal(states.offsets, cut)
    for tensor in (values, *pooling.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().sum() > 0


def test_a_sentence_is_pooled_by_itself_in_any_order(pooling: Pooling, states: States) -> None:
    ends = states.offsets.tolist()
    parts = [states.values_TD[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]
    whole = pooling(states)
    for index, part in enumerate(parts):
        single = pooling(States(part, torch.tensor([0, len(part)])))
        torch.testing.assert_close(single[0], whole[index], rtol=0, atol=1e-6)
    order = torch.randperm(len(parts)).tolist()
    lengths = torch.tensor([0, *(len(parts[i]) for i in order)])
    shuffled = pooling(States(torch.cat([parts[i] for i in order]), lengths.cumsum(0)))
    torch.testing.assert_close(shuffled, whole[order], rtol=0, atol=1e-6)


def test_equal_tokens_pool_in_the_direction_of_one(pooling: Pooling) -> None:
    token = torch.randn(16)
    pooled = pooling(States(token.repeat(6, 1), torch.tensor([0, 1, 6])))
    one, five = torch.nn.functional.normalize(pooled, dim=-1)
    torch.testing.assert_close(five, one, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_stock_modules_give_the_same_with_the_same_gradients(
    pooling: Pooling, states: States, side: str
) -> None:
    described = pooling.stock()
    if described is None:
        pytest.skip("sentence-transformers has no such pooling")
    longest = int(states.lengths_B.max())
    real_BL = torch.arange(longest) < states.lengths_B.unsqueeze(1)
    if side == "left":
        real_BL = real_BL.flip(1)
    # Pads hold the largest numbers, so that a forgotten mask cannot hide.
    padded_BLD = torch.full((len(states), longest, 16), 1e9)
    padded_BLD[real_BL] = states.values_TD
    features = {"token_embeddings": padded_BLD, "attention_mask": real_BL.long()}
    for part in described:
        arguments: dict[str, Any] = dict(part.arguments)
        if "activation_function" in arguments:
            arguments["activation_function"] = getattr(torch.nn, arguments["activation_function"])()
        module = getattr(stock, part.type)(**arguments)
        module.load_state_dict(part.weights)
        features = module(features)
    expected = features["sentence_embedding"]
    got = pooling(states)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    weight = torch.randn_like(got)
    mine, theirs = (
        torch.autograd.grad((pooled * weight).sum(), states.values_TD)[0]
        for pooled in (got, expected)
    )
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_a_config_survives_json(config: PoolingConfig) -> None:
    assert type(config).model_validate_json(config.model_dump_json()) == config


def test_the_meta_device_counts_as_the_real_one_does(config: PoolingConfig) -> None:
    with torch.device("meta"):
        shadow = config.build(16)
    assert all(p.is_meta for p in shadow.parameters())
    shapes = [{n: p.shape for n, p in x.named_parameters()} for x in (shadow, config.build(16))]
    assert shapes[0] == shapes[1]


def test_is_rebuilt_from_its_arguments_and_weights(pooling: Pooling, states: States) -> None:
    kind = type(pooling)
    arguments = {n: copy.deepcopy(getattr(pooling, n)) for n in inspect.signature(kind).parameters}
    torch.manual_seed(1)
    again = kind(**arguments)
    again.load_state_dict(pooling.state_dict())
    assert torch.equal(again(states), pooling(states))


PARTS = {"mean": 0.5, "max": 0.25, "length_mean": 0.25}
DECLARED: list[dict[str, Any]] = [
    *({"kind": kind} for kind in KINDS),
    {"kind": "weighted", "weights": PARTS},
    {"kind": "weighted", "weights": PARTS, "learned": True},
    {"kind": "weighted", "weights": PARTS | {"last": 0.0}},
    {"kind": "weighted", "weights": PARTS | {"last": 0.0}, "learned": True},
    {"kind": "weighted", "weights": {"mean": 1.0, "attention": 1.0}},
    {"kind": "weighted", "weights": {"mean": 1.0, "attention": 0.0}},
]


def read_by(pooling: Pooling, states: States) -> tuple[torch.Tensor, set[str]] | None:
    """What a pooling gives of stored statistics, and which it reads; None if it needs tokens."""
    read = set()

    def stored(name: str) -> torch.Tensor:
        read.add(name)
        return torch.Tensor(getattr(states, name))

    try:
        return pooling(Statistics(stored)), read
    except AttributeError:
        return None


@pytest.mark.parametrize("settings", DECLARED, ids=str)
def test_trains_says_whether_there_are_parameters(settings: dict[str, object]) -> None:
    config = KINDS[str(settings["kind"])].model_validate(settings)
    assert isinstance(config, PoolingConfig)
    assert config.trains == bool(list(config.build(16).parameters()))


@pytest.mark.parametrize("settings", DECLARED, ids=str)
def test_a_pooling_declares_exactly_what_it_reads(
    settings: dict[str, object], states: States
) -> None:
    config = KINDS[str(settings["kind"])].model_validate(settings)
    assert isinstance(config, PoolingConfig)
    pooling = config.build(16)
    found = read_by(pooling, states)
    if found is None:
        assert pooling.statistics is None
        return
    pooled, read = found
    assert pooling.statistics == frozenset(read)
    assert read <= set(STATISTICS)
    assert torch.equal(pooled, pooling(states))


def test_a_declaration_survives_the_meta_device() -> None:
    """A search asks poolings that hold no values, also those with a buffer and no parameter."""
    for settings in DECLARED:
        config = KINDS[str(settings["kind"])].model_validate(settings)
        assert isinstance(config, PoolingConfig)
        with torch.device("meta"):
            shadow = config.build(16)
        assert shadow.statistics == config.build(16).statistics
