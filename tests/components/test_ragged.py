"""Packed sentences against plain loops."""

from __future__ import annotations

import pytest
import torch

from components.ragged import States, Tokens, segment_softmax, segment_sum


def rows(states: States) -> list[torch.Tensor]:
    ends = states.offsets.tolist()
    return [states.values_TD[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]


def ramp(part: torch.Tensor) -> torch.Tensor:
    repeated = [token for place, token in enumerate(part) for _ in range(place + 1)]
    return torch.stack(repeated).mean(0)


def test_tokens_of_lists() -> None:
    tokens = Tokens.of([[3, 4], [5], [6, 7, 8]])
    assert tokens.ids_T.tolist() == [3, 4, 5, 6, 7, 8]
    assert tokens.offsets.tolist() == [0, 2, 3, 6]
    assert tokens.lengths_B.tolist() == [2, 1, 3]
    assert len(tokens) == 3


def test_statistics_equal_a_loop(states: States) -> None:
    parts = rows(states)
    torch.testing.assert_close(states.mean, torch.stack([p.mean(0) for p in parts]))
    torch.testing.assert_close(states.max, torch.stack([p.amax(0) for p in parts]))
    torch.testing.assert_close(states.first, torch.stack([p[0] for p in parts]))
    torch.testing.assert_close(states.last, torch.stack([p[-1] for p in parts]))
    torch.testing.assert_close(states.ramp, torch.stack([ramp(p) for p in parts]))
    assert states.count.tolist() == [[float(len(p))] for p in parts]
    torch.testing.assert_close(
        segment_sum(states.values_TD, states.offsets), torch.stack([p.sum(0) for p in parts])
    )


@pytest.mark.parametrize("name", ["mean", "max", "first", "last", "ramp"])
def test_gradients_equal_a_loop(states: States, name: str) -> None:
    weight = torch.randn(len(states), 16)
    (got,) = torch.autograd.grad((getattr(states, name) * weight).sum(), states.values_TD)
    by_loop = {
        "mean": lambda p: p.mean(0),
        "max": lambda p: p.amax(0),
        "first": lambda p: p[0],
        "last": lambda p: p[-1],
        "ramp": ramp,
    }
    expected = torch.stack([by_loop[name](part) for part in rows(states)])
    (want,) = torch.autograd.grad((expected * weight).sum(), states.values_TD)
    torch.testing.assert_close(got, want)


def test_softmax_equals_a_loop_and_survives_large_scores(states: States) -> None:
    scores = States(torch.randn(len(states.values_TD), 3) * 300, states.offsets)
    got = segment_softmax(scores.values_TD, scores.offsets)
    want = torch.cat([part.softmax(0) for part in rows(scores)])
    torch.testing.assert_close(got, want)


def test_half_precision_is_summed_in_float32() -> None:
    # 1 + 1/256 does not exist in bfloat16: a sum kept in it would stay at 256.
    values = torch.ones(1000, 1, dtype=torch.bfloat16)
    states = States(values, torch.tensor([0, 1000]))
    assert states.mean.dtype == torch.float32
    assert states.mean.item() == 1.0
    assert segment_sum(states.wide_TD, states.offsets).item() == 1000.0
    assert states.ramp.dtype == torch.float32
    assert states.ramp.item() == 1.0


@pytest.mark.parametrize("name", ["mean", "max", "first", "last", "ramp", "count"])
def test_statistics_are_float32_whatever_the_states(states: States, name: str) -> None:
    half = States(states.values_TD.detach().bfloat16(), states.offsets)
    wide = States(half.values_TD.float(), states.offsets)
    assert getattr(half, name).dtype == torch.float32
    assert torch.equal(getattr(half, name), getattr(wide, name))


def test_hand_written_numbers() -> None:
    states = States(torch.tensor([[1.0, -2.0], [3.0, -4.0], [5.0, 0.5]]), torch.tensor([0, 2, 3]))
    assert states.mean.tolist() == [[2.0, -3.0], [5.0, 0.5]]
    assert states.max.tolist() == [[3.0, -2.0], [5.0, 0.5]]
    assert states.first.tolist() == [[1.0, -2.0], [5.0, 0.5]]
    assert states.last.tolist() == [[3.0, -4.0], [5.0, 0.5]]
    torch.testing.assert_close(states.ramp, torch.tensor([[7 / 3, -10 / 3], [5.0, 0.5]]))
    assert states.count.tolist() == [[2.0], [1.0]]


def test_equal_largest_values_share_the_gradient() -> None:
    values = torch.tensor([[1.0], [1.0], [0.0], [7.0]], requires_grad=True)
    (grad,) = torch.autograd.grad(States(values, torch.tensor([0, 3, 4])).max.sum(), values)
    assert grad.tolist() == [[0.5], [0.5], [0.0], [1.0]]


def test_softmax_gradients_equal_a_loop(states: States) -> None:
    scores = torch.randn(len(states.values_TD), 3, requires_grad=True)
    weight = torch.randn_like(scores)
    mine = segment_softmax(scores, states.offsets)
    loop = torch.cat([part.softmax(0) for part in rows(States(scores, states.offsets))])
    got, want = (torch.autograd.grad((out * weight).sum(), scores)[0] for out in (mine, loop))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


def test_softmax_of_equal_scores_is_even_and_of_one_token_is_one() -> None:
    weights = segment_softmax(torch.full((5, 1), -1e4), torch.tensor([0, 4, 5]))
    assert weights.flatten().tolist() == [0.25, 0.25, 0.25, 0.25, 1.0]
