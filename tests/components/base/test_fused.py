"""Operations in fewer passes against transformers' own."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, LlamaConfig, LlamaModel, PretrainedConfig
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama import modeling_llama
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from components.base import Base
from components.base.fused import Replacement, _rotate, fused, replacements
from components.ragged import Tokens
from tests.components.base.test_packing import PACKED
from tests.components.conftest import SIZES

WIDTH = 24
KINDS = [LlamaRMSNorm, Qwen3RMSNorm, nn.RMSNorm]


def made(kind: type[nn.Module], eps: float = 1e-2) -> nn.Module:
    """A norm with weights of its own and an eps that shows."""
    norm = kind(WIDTH, eps=eps)
    norm.requires_grad_(False)
    assert isinstance(norm.weight, Tensor)
    norm.weight.copy_(torch.linspace(-1, 2, WIDTH))
    return norm


def _norm_of(norm: nn.Module) -> Replacement:
    """What is found for a norm; the rotation of its model's code may be found beside it."""
    (found,) = (one for one in replacements(norm) if one.name == "forward")
    return found


def run(norm: nn.Module, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """What comes out, and the gradient of what went in."""
    given = x.detach().requires_grad_()
    y = norm(given)
    return y, torch.autograd.grad((y.float() * weight).sum(), given)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 7, WIDTH), (1, 5, 3, WIDTH), (2, WIDTH)])
def test_states_and_gradients_are_those_of_the_norm(
    kind: type[nn.Module], shape: tuple[int, ...]
) -> None:
    norm = made(kind)
    x = torch.randn(shape) * torch.logspace(-3, 2, shape[-2])[:, None]
    weight = torch.randn(shape)
    kept = x.clone()
    want = run(norm, x, weight)
    found = _norm_of(norm)
    with fused([found]):
        got = run(norm, x, weight)
        with torch.no_grad():
            assert torch.equal(norm(x), got[0])
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert torch.equal(x, kept)
    assert torch.equal(run(norm, x, weight)[0], want[0])


def test_a_row_of_zeros_has_a_finite_gradient() -> None:
    norm = made(LlamaRMSNorm, eps=1e-6)
    x, weight = torch.zeros(2, WIDTH), torch.ones(2, WIDTH)
    want = run(norm, x, weight)
    with fused([_norm_of(norm)]):
        got = run(norm, x, weight)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_near_as_the_norm_itself(dtype: torch.dtype) -> None:
    norm = made(LlamaRMSNorm)
    x, weight = torch.randn(9, WIDTH), torch.randn(9, WIDTH)
    exact = run(norm, x, weight)
    norm.to(dtype)
    found = _norm_of(norm)
    with fused([found]):
        rounded = run(norm, x.to(dtype), weight)
    for got, want in zip(rounded, exact, strict=True):
        assert got.dtype == dtype
        torch.testing.assert_close(got.float(), want, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    "other",
    [
        Gemma3RMSNorm(WIDTH),  # 1 + weight
        nn.LayerNorm(WIDTH),
        nn.LayerNorm(WIDTH, bias=False),
        nn.Linear(WIDTH, WIDTH, bias=False),
        nn.Embedding(WIDTH, WIDTH),
    ],
    ids=lambda module: type(module).__name__,
)
def test_what_computes_something_else_is_left_alone(other: nn.Module) -> None:
    assert isinstance(other.weight, Tensor)
    torch.nn.init.uniform_(other.weight, 0.5, 1)
    assert not any(one.name == "forward" for one in replacements(nn.Sequential(other)))


# Norms of three layers and the last one, and the rotation of queries and keys.
COUNT = {"qwen3": (13, 1), "qwen2": (7, 1), "llama": (7, 1), "mistral": (7, 1),
         "gemma3_text": (0, 1), "modernbert": (0, 1)}  # fmt: skip


@pytest.mark.parametrize("config", PACKED, ids=lambda config: config.model_type)
def test_what_is_found_in_a_model_stands_there_for_a_call(config: PretrainedConfig) -> None:
    model = AutoModel.from_config(copy.deepcopy(config)).requires_grad_(False)
    found = replacements(model)
    norms = [one for one in found if one.name == "forward"]
    assert (len(norms), len(found) - len(norms)) == COUNT.get(config.model_type, (0, 0))
    before = [getattr(one.owner, one.name) for one in found]
    with contextlib.suppress(KeyError), fused(found):
        assert all(getattr(one.owner, one.name) is one.by for one in found)
        raise KeyError
    assert [getattr(one.owner, one.name) for one in found] == before
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotated_states_and_their_gradients_are_those_of_the_model(dtype: torch.dtype) -> None:
    q, k = (torch.randn(1, 5, h, 8).transpose(1, 2).to(dtype) for h in (4, 2))
    # Halves of different angles, as no model has them: the gradient must not rely on that.
    cos, sin = (torch.randn(1, 5, 8).to(dtype) for _ in range(2))
    weights = [torch.randn(1, h, 5, 8) for h in (4, 2)]
    rounded = []
    for rotate in (modeling_llama.apply_rotary_pos_emb, _rotate):
        given = (q.detach().requires_grad_(), k.detach().requires_grad_())
        outs = rotate(*given, cos, sin)
        loss = sum((out.float() * weight).sum() for out, weight in zip(outs, weights, strict=True))
        rounded.append([*outs, *torch.autograd.grad(loss, given)])
    for want, got in zip(*rounded, strict=True):
        assert got.dtype == dtype
        bound = 1e-6 if dtype == torch.float32 else 0.05
        torch.testing.assert_close(got, want, rtol=bound, atol=bound)


def _neighbours(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1
) -> tuple[Tensor, ...]:
    turned = (torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2) for x in (q, k))
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    return tuple(x * cos + t * sin for x, t in zip((q, k), turned, strict=True))


def _fewer(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return q, k


@pytest.mark.parametrize("other", [_neighbours, _fewer, None])
def test_a_rotation_of_another_kind_is_left_alone(
    other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", other)
    model = LlamaModel(LlamaConfig(**SIZES))
    assert {one.name for one in replacements(model)} == {"forward"}


def test_a_copy_of_a_base_has_norms_of_its_own(tokens: Tokens) -> None:
    base = Base(AutoModel.from_config(LlamaConfig(**SIZES)), None, 32)
    assert base.pack()
    own = copy.deepcopy(base)
    with torch.no_grad():
        own.model.norm.weight.mul_(2)
    want, got = base(tokens).values_TD, own(tokens).values_TD
    torch.testing.assert_close(got, 2 * want)
