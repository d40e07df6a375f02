"""Mean pooling scaled by length against a loop."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from sentence_transformers.sentence_transformer import modules as stock

from components.pooling.length_mean import LengthMean
from components.pooling.mean import Mean
from components.ragged import States


@pytest.mark.parametrize("power", [0, 0.25, 0.5, 1.0, 2])
def test_equals_a_loop(states: States, power: float) -> None:
    ends = states.offsets.tolist()
    parts = [states.values_TD[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]
    got = LengthMean(power=power).build(16)(states)
    want = torch.stack([sum(part.unbind()) / len(part) ** power for part in parts])
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
    weight = torch.randn_like(got)
    mine, theirs = (
        torch.autograd.grad((pooled * weight).sum(), states.values_TD)[0] for pooled in (got, want)
    )
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


def test_hand_written_numbers() -> None:
    values = torch.tensor([[1.0, -2.0], [3.0, 0.0], [5.0, -4.0], [7.0, 2.0], [6.0, 0.5]])
    states = States(values, torch.tensor([0, 4, 5]))
    assert LengthMean().build(2)(states).tolist() == [[8.0, -2.0], [6.0, 0.5]]
    assert LengthMean(power=0).build(2)(states).tolist() == [[16.0, -4.0], [6.0, 0.5]]
    assert LengthMean(power=2).build(2)(states).tolist() == [[1.0, -0.25], [6.0, 0.5]]


def test_power_one_is_the_mean(states: States) -> None:
    assert torch.equal(LengthMean(power=1).build(16)(states), Mean().build(16)(states))


def test_runs_on_stored_means_and_counts(states: States) -> None:
    pooling = LengthMean().build(16)
    stored = SimpleNamespace(mean=states.mean, count=states.count)
    assert torch.equal(pooling(stored), pooling(states))


def test_only_scales_the_mean(states: States) -> None:
    assert LengthMean().only_scales
    assert not LengthMean().needs_bidirectional
    ratio = LengthMean(power=0.25).build(16)(states) / states.mean
    want = states.lengths_B.unsqueeze(1) ** 0.75
    torch.testing.assert_close(ratio, want.expand(-1, 16), rtol=1e-6, atol=0)


@pytest.mark.parametrize("power", [-0.1, 2.1, float("nan"), "half"])
def test_other_powers_are_refused(power: object) -> None:
    with pytest.raises(ValidationError, match="power"):
        LengthMean.model_validate({"power": power})


@pytest.mark.parametrize(("power", "mode"), [(0.5, "mean_sqrt_len_tokens"), (1, "mean")])
def test_is_a_stock_pooling_at_two_powers(states: States, power: float, mode: str) -> None:
    pooling = LengthMean(power=power).build(16)
    (part,) = pooling.stock() or []
    assert part.type == "Pooling"
    assert part.arguments == {"embedding_dimension": 16, "pooling_mode": mode}
    assert not part.weights
    module = stock.Pooling(**part.arguments)
    one = states.values_TD[8:31]
    features = {"token_embeddings": one[None], "attention_mask": torch.ones(1, 23).long()}
    expected = module(features)["sentence_embedding"]
    got = pooling(States(one, torch.tensor([0, 23])))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_no_stock_pooling_at_other_powers() -> None:
    assert LengthMean(power=0.75).build(16).stock() is None
