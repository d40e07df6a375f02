"""A weighted sum of poolings against its parts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from sentence_transformers.sentence_transformer import modules as stock
from torch import Tensor

from components.pooling.attention import AttentionPooling
from components.pooling.last import LastPooling
from components.pooling.max import MaxPooling
from components.pooling.mean import MeanPooling
from components.pooling.weighted import Weighted, WeightedPooling
from components.ragged import States


def made(**settings: Any) -> WeightedPooling:
    pooling = Weighted.model_validate(settings).build(16)
    assert isinstance(pooling, WeightedPooling)
    return pooling


def faults(**settings: Any) -> dict[str, str]:
    """Dotted key -> message of everything that is refused."""
    with pytest.raises(ValidationError) as caught:
        Weighted.model_validate(settings)
    return {".".join(map(str, e["loc"])): e["msg"] for e in caught.value.errors()}


@pytest.mark.parametrize("learned", [False, True])
def test_equals_a_loop(states: States, learned: bool) -> None:
    weights = {"max": 0.25, "mean": 2, "last": 0.5}
    pooling = made(weights=weights, learned=learned)
    ends = states.offsets.tolist()
    parts = [states.values_TD[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]
    rows = [0.25 * part.amax(0) + 2 * part.mean(0) + 0.5 * part[-1] for part in parts]
    got, want = pooling(states), torch.stack(rows)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)
    weight = torch.randn_like(got)
    mine, theirs = (
        torch.autograd.grad((out * weight).sum(), states.values_TD, retain_graph=True)[0]
        for out in (got, want)
    )
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
    if learned:
        (got * weight).sum().backward()
        each = [(f(states) * weight).sum() for f in (lambda s: s.max, lambda s: s.mean,
                                                     lambda s: s.last)]  # fmt: skip
        torch.testing.assert_close(pooling.weight_P.grad, torch.stack(each), rtol=0, atol=1e-5)


def test_hand_written_numbers() -> None:
    values = torch.tensor([[1.0, -2.0], [3.0, -4.0], [5.0, 0.5]])
    states = States(values, torch.tensor([0, 2, 3]))
    assert Weighted().build(2)(states).tolist() == [[2.5, -2.5], [5.0, 0.5]]


def test_parts_keep_their_settings_and_parameters(states: States) -> None:
    weights = {"attention": 0.5, "length_mean": 3.0}
    settings = {"attention": {"heads": 4}, "length_mean": {"power": 1.5}}
    pooling = made(weights=weights, settings=settings)
    attention, short = pooling.parts
    assert isinstance(attention, AttentionPooling)
    assert attention.heads == 4
    torch.nn.init.normal_(attention.query_HK)
    want = 0.5 * attention(states) + 3 * states.mean / states.count.sqrt()
    torch.testing.assert_close(short(states), states.mean / states.count.sqrt(), rtol=0, atol=1e-6)
    torch.testing.assert_close(pooling(states), want, rtol=0, atol=1e-6)
    assert [name for name, _ in pooling.named_parameters()] == ["parts.0.query_HK"]


def test_runs_on_stored_statistics_if_its_parts_do(states: States) -> None:
    pooling = made()
    stored = SimpleNamespace(mean=states.mean, max=states.max)
    assert torch.equal(pooling(stored), pooling(states))


def test_learned_weights_start_where_told_and_train(states: States) -> None:
    pooling = made(weights={"mean": 0.75, "max": 0.0, "last": 0.25}, learned=True)
    ((name, weight_P),) = pooling.named_parameters()
    assert name == "weight_P"
    assert weight_P.tolist() == [0.75, 0.0, 0.25]
    assert list(pooling.state_dict()) == ["weight_P"]
    pooling(states).square().sum().backward()
    assert weight_P.grad is not None
    assert (weight_P.grad != 0).all()
    fixed = made(weights={"mean": 0.75, "last": 0.25})
    assert not list(fixed.parameters())
    assert not fixed.state_dict()


def test_a_part_without_weight_is_not_made(states: States) -> None:
    pooling = made(weights={"mean": 0.0, "last": 0.5, "attention": 0, "max": 1})
    assert [type(part) for part in pooling.parts] == [LastPooling, MaxPooling]
    assert pooling.weights == [0.5, 1.0]
    torch.testing.assert_close(pooling(states), 0.5 * states.last + states.max, rtol=0, atol=0)
    learned = made(weights={"mean": 0.0, "last": 0.5}, learned=True)
    assert [type(part) for part in learned.parts] == [MeanPooling, LastPooling]


@pytest.mark.parametrize("learned", [False, True])
def test_weights_that_are_all_zero_are_refused(learned: bool) -> None:
    config = Weighted(weights={"mean": 0.0, "max": 0}, learned=learned)
    assert not config.only_scales
    with pytest.raises(
        ValueError, match=r"^pooling.weights are all 0; it must have one .* above 0$"
    ):
        config.build(16)


@pytest.mark.parametrize(
    ("weights", "scales"),
    [
        ({"mean": 1, "max": 1}, False),
        ({"mean": 1, "length_mean": 1}, True),
        ({"mean": 1, "length_mean": 1, "max": 0}, True),
        ({"mean": 1, "max": 0}, True),
        ({"mean": 0, "max": 1}, False),
        ({"mean": 0, "length_mean": 2}, True),
        ({"length_mean": 1, "last": 1}, False),
        ({"mean": 0, "length_mean": 0}, False),
    ],
)
def test_only_scales_if_every_part_does(weights: dict[str, float], scales: bool) -> None:
    assert Weighted(weights=weights).only_scales is scales


def test_any_learned_part_counts_whatever_it_starts_at() -> None:
    start = {"mean": 1.0, "cls": 0.0}
    assert Weighted(weights=start).only_scales
    assert not Weighted(weights=start).needs_bidirectional
    assert not Weighted(weights=start, learned=True).only_scales
    assert Weighted(weights=start, learned=True).needs_bidirectional
    assert Weighted(weights={"mean": 1.0, "cls": 0.1}).needs_bidirectional
    assert not Weighted().needs_bidirectional


def test_equal_tokens_pool_to_themselves_times_the_sum_of_weights() -> None:
    token = torch.randn(16)
    pooling = made(weights={"mean": 0.5, "max": 1, "last": 0.25, "position_weighted": 0.25})
    pooled = pooling(States(token.repeat(6, 1), torch.tensor([0, 1, 6])))
    torch.testing.assert_close(pooled, 2 * token.repeat(2, 1), rtol=0, atol=1e-6)


def test_a_pooling_that_is_none_is_refused() -> None:
    got = faults(weights={"maen": 0.5, "max": 0.5, "no": 1})
    assert list(got) == ["weights.maen", "weights.no"]
    assert "pooling.weights.maen is no pooling that can be mixed" in got["weights.maen"]
    assert "it must be among attention, cls, last" in got["weights.maen"]
    assert got["weights.maen"].endswith("did you mean 'mean'?")
    assert got["weights.no"].endswith("position_weighted")


def test_a_sum_within_a_sum_is_refused() -> None:
    got = faults(weights={"weighted": 0.5, "max": 0.5}, settings={"weighted": {}})
    assert list(got) == ["weights.weighted"]
    assert "among attention" in got["weights.weighted"]
    assert ", weighted" not in got["weights.weighted"]


def test_one_pooling_is_no_sum() -> None:
    message = "pooling.weights is {'mean': 1.0}; it must hold at least two kinds"
    assert message in faults(weights={"mean": 1.0})["weights"]
    assert list(faults(weights={})) == ["weights"]


@pytest.mark.parametrize("weight", [-0.5, float("nan"), float("inf"), "1", True])
def test_other_weights_are_refused(weight: object) -> None:
    assert list(faults(weights={"mean": 1.0, "max": weight})) == ["weights.max"]


def test_settings_of_a_pooling_that_is_not_weighted_are_refused() -> None:
    got = faults(settings={"attention": {"heads": 2}})
    message = "pooling.settings.attention is not among the weights; it must be among mean, max"
    assert got["settings.attention"] == f"Value error, {message}"


def test_settings_that_a_pooling_refuses_are_refused_at_their_key() -> None:
    weights = {"attention": 0.5, "length_mean": 0.5, "max": 1, "last": 1}
    settings = {
        "attention": {"haeds": 2},
        "length_mean": {"power": 3.0},
        "max": {"power": 1},
        "last": {"kind": "max"},
    }
    got = faults(weights=weights, settings=settings)
    assert got["settings.attention.haeds"].endswith(
        "pooling.settings.attention.haeds is no setting of 'attention'; it must be among heads; "
        "did you mean 'heads'?"
    )
    assert got["settings.length_mean.power"] == "Input should be less than or equal to 2"
    assert got["settings.max.power"].endswith("is no setting of 'max'; it must be left out")
    assert got["settings.last.kind"] == "Input should be 'last'"
    assert len(got) == 4


def test_a_part_that_does_not_fit_the_base_is_named() -> None:
    config = Weighted(weights={"mean": 0.5, "attention": 0.5}, settings={"attention": {"heads": 5}})
    with pytest.raises(ValueError, match=r"^pooling.settings.attention.heads is 5; it must .* 16$"):
        config.build(16)


def test_the_parts_settings_survive_json() -> None:
    config = Weighted(
        weights={"mean": 0.5, "attention": 1}, settings={"attention": {"heads": 2}}, learned=True
    )
    assert Weighted.model_validate_json(config.model_dump_json()) == config
    assert Weighted.model_validate(config.model_dump()) == config


def stock_vectors(pooling: WeightedPooling, states: States) -> Tensor:
    """What sentence-transformers' own modules make of the states."""
    lengths = states.offsets.diff()
    rows = states.values_TD.split(lengths.tolist())
    padded = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=9.0)
    mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
    features = {"token_embeddings": padded, "attention_mask": mask}
    for part in pooling.stock() or []:
        arguments = dict(part.arguments)
        if "activation_function" in arguments:
            arguments["activation_function"] = torch.nn.Identity()
        module = getattr(stock, part.type)(**arguments)
        module.load_state_dict(part.weights)
        features = module(features)
    found: Tensor = features["sentence_embedding"]
    return found


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(
    ("weights", "settings"),
    [
        ({"mean": 0.3, "max": 1.7}, {}),
        ({"max": 0.3, "mean": 1.7}, {}),
        ({"cls": 0.5, "last": 2.0, "position_weighted": 0.1, "length_mean": 0.4, "mean": 1.0}, {}),
        ({"length_mean": 0.4, "max": 0.2}, {"length_mean": {"power": 1.0}}),
    ],
)
def test_stock_modules_compute_it(
    states: States, weights: dict[str, float], settings: dict[str, Any], learned: bool
) -> None:
    pooling = made(weights=weights, settings=settings, learned=learned)
    if learned:
        with torch.no_grad():
            pooling.weight_P.copy_(torch.randn(len(weights)))
    assert [part.type for part in pooling.stock() or []] == ["Pooling", "Dense"]
    found = stock_vectors(pooling, states)
    torch.testing.assert_close(found, pooling(states), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("weights", "settings"),
    [
        ({"mean": 0.5, "attention": 0.5}, {}),
        ({"mean": 0.5, "length_mean": 0.5}, {"length_mean": {"power": 0.3}}),
        # Two parts of one stock mode, which a stock Pooling can hold once only.
        ({"mean": 0.5, "length_mean": 0.5}, {"length_mean": {"power": 1.0}}),
    ],
)
def test_no_stock_module_computes_it(weights: dict[str, float], settings: dict[str, Any]) -> None:
    assert made(weights=weights, settings=settings).stock() is None
