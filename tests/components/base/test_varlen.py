"""The packed base by torch's kernel for packed sentences against the way without it.

The kernel itself needs a CUDA device, and without one only the last tests here are skipped. The
others put in its place a slow one of the same meaning, which refuses what the kernel refuses.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import varlen
from transformers import AutoModel, PretrainedConfig, PreTrainedModel

from components.adapter.lora import Lora
from components.base import model as model_module
from components.base.model import Base
from components.base.packing import (
    HALF,
    NAME,
    VARLEN,
    Packing,
    attention,
    packed,
    varlen_attention,
    ways,
)
from components.ragged import Tokens
from search.features import FeaturePlan, performance_notes
from search.settings.sections import CacheSettings
from tests.components.base.test_packing import PACKED, PADDED, alone, base_of

REAL = varlen.varlen_attn
FULL, CAUSAL = (-1, -1), (-1, 0)


class Kernel:
    """What `torch.nn.attention.varlen.varlen_attn` is documented to compute, row by row.

    Args:
        dtypes: those it takes; the real one takes only the two of half precision.

    Attributes:
        calls: the arguments of each call.
    """

    def __init__(self, *dtypes: torch.dtype) -> None:
        self.dtypes = dtypes or HALF
        self.calls: list[inspect.BoundArguments] = []
        # `varlen_attention` asks whether the kernel knows grouped queries.
        self.__signature__ = inspect.signature(REAL)

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        bound = inspect.signature(REAL).bind(*args, **kwargs)  # raises where the real one would
        self.calls.append(copy.copy(bound))
        bound.apply_defaults()
        given = bound.arguments
        query, key, value = (given[name] for name in ("query", "key", "value"))
        for tensor in (query, key, value):
            assert tensor.dtype == query.dtype in self.dtypes
            assert tensor.dim() == 3
            assert tensor.stride(-1) == 1
            assert tensor.shape[0] == query.shape[0]
            assert tensor.shape[2] == query.shape[2] <= 256
            assert tensor.shape[2] % 8 == 0
        assert key.shape == value.shape
        cu_seq = given["cu_seq_q"]
        assert cu_seq is given["cu_seq_k"]  # a kernel of newer versions is only taken then
        assert cu_seq.dtype == torch.int32
        assert cu_seq.device == query.device
        assert cu_seq.is_contiguous()
        ends = cu_seq.tolist()
        assert (ends[0], ends[-1]) == (0, len(query))
        lengths = [b - a for a, b in zip(ends[:-1], ends[1:], strict=True)]
        assert given["max_q"] == given["max_k"] == max(lengths)
        assert type(given["max_q"]) is int
        # The real one without numbers: it has its own checks before the kernel.
        ghost = REAL(*(_ghost(a) for a in bound.args), **bound.kwargs)
        assert isinstance(ghost, Tensor)
        left, right = given["window_size"]
        group = query.shape[1] // key.shape[1]
        scale = query.shape[2] ** -0.5 if given["scale"] is None else given["scale"]
        sentences = []
        for a, b in zip(ends[:-1], ends[1:], strict=True):
            keys, values = (t[a:b].repeat_interleave(group, dim=1).float() for t in (key, value))
            scores = torch.einsum("qhk,shk->hqs", query[a:b].float(), keys) * scale
            for row in range(b - a):
                for column in range(b - a):
                    before, after = left >= 0 and row - column > left, 0 <= right < column - row
                    if before or after:
                        scores[:, row, column] = -torch.inf
            sentences.append(torch.einsum("hqs,shk->qhk", scores.softmax(-1), values))
        out = torch.cat(sentences).to(query.dtype)
        assert out.shape == ghost.shape and out.dtype == ghost.dtype
        return out


def _ghost(argument: Any) -> Any:
    return argument.detach().to("meta") if isinstance(argument, Tensor) else argument


def put(monkeypatch: pytest.MonkeyPatch, kernel: Any) -> None:
    """Have a base try a kernel here, on a CPU, too."""
    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    monkeypatch.setattr(model_module, "ways", lambda *_: (VARLEN, NAME))


def made(config: PretrainedConfig, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    model: PreTrainedModel = AutoModel.from_config(copy.deepcopy(config)).eval()
    return model.to(dtype)


def gradients(base: Base, tokens: Tokens, adapter: nn.Module) -> list[Tensor]:
    weight_TD = torch.linspace(-1, 1, len(tokens.ids_T) * 32, device=base.device).view(-1, 32)
    loss = (base(tokens).values_TD.float() * weight_TD).sum()
    return list(torch.autograd.grad(loss, list(adapter.parameters())))


def assert_same_direction(got: list[Tensor], expected: list[Tensor]) -> None:
    """In half precision, gradients of two orders of summing differ by up to a tenth."""
    for one, other in zip(got, expected, strict=True):
        assert torch.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.99


def adapted(model: PreTrainedModel) -> nn.Module:
    adapter = Lora(rank=2, targets="all-linear").build(model)
    for parameter in adapter.parameters():  # B starts at zero, where A gets no gradient
        nn.init.normal_(parameter, std=0.1)
    return adapter


@pytest.mark.parametrize("config", PACKED, ids=lambda config: config.model_type)
def test_the_states_are_those_of_each_sentence_alone(
    config: PretrainedConfig, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(torch.float32)
    put(monkeypatch, kernel)
    model = made(config)
    base = base_of(model)
    expected = alone(model, tokens)
    assert base.attention == "padded"
    assert base.pack()
    assert base.attention == model.config._attn_implementation == "packed_varlen"
    kernel.calls.clear()
    states = base(tokens).values_TD
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-5)
    assert not states.requires_grad
    assert len(kernel.calls) == base.depth
    # One tensor for all layers.
    assert len({id(call.arguments["cu_seq_q"]) for call in kernel.calls}) == 1


@pytest.mark.parametrize("config", PACKED, ids=lambda config: config.model_type)
def test_the_gradients_are_those_of_the_way_without_it(
    config: PretrainedConfig, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(config)
    base = base_of(model)
    adapter = adapted(model)
    assert base.pack()
    assert base.attention == "packed"
    expected = gradients(base, tokens, adapter)
    kernel = Kernel(torch.float32)
    put(monkeypatch, kernel)
    assert base.pack()
    assert base.attention == "packed_varlen"
    assert all(parameter.grad is None for parameter in model.parameters())
    for got, want in zip(gradients(base, tokens, adapter), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("config", PACKED, ids=lambda config: config.model_type)
def test_all_of_a_base_in_half_precision_is_what_the_kernel_takes(
    config: PretrainedConfig, dtype: torch.dtype, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(config, dtype)
    base = base_of(model)
    adapter = adapted(model)
    assert base.pack()
    states, expected = base(tokens).values_TD, gradients(base, tokens, adapter)
    kernel = Kernel()
    put(monkeypatch, kernel)
    assert base.pack()
    assert base.attention == "packed_varlen"
    # The order of sums differs, also by the number of threads: as far as `Base.pack` allows.
    bound = 0.05 * float(states.detach().abs().max())
    torch.testing.assert_close(base(tokens).values_TD, states, rtol=0, atol=bound)
    assert_same_direction(gradients(base, tokens, adapter), expected)


@torch.no_grad()
def test_a_model_can_be_cut(
    model: PreTrainedModel, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(torch.float32)
    put(monkeypatch, kernel)
    base = base_of(model)
    assert base.pack()
    assert base.attention == "packed_varlen"
    expected = base(tokens).values_TD
    kernel.calls.clear()
    got = base.run_from(base.run_until(tokens, 1), 1).values_TD
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    assert len(kernel.calls) == base.depth


def _raises(*_: Any, **__: Any) -> Tensor:
    raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.")


class _ForwardOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, out: Tensor) -> Tensor:
        return out.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        raise RuntimeError("FlashAttention backward for head dim 224 requires an A100")


def _forward_only(*args: Any, **kwargs: Any) -> Tensor:
    out: Tensor = _ForwardOnly.apply(Kernel(torch.float32)(*args, **kwargs))
    return out


def _everything_seen(*args: Any, **kwargs: Any) -> Tensor:
    return Kernel(torch.float32)(*args, **kwargs | {"window_size": (2, 2)})


@pytest.mark.parametrize("kernel", [_raises, _forward_only, _everything_seen, REAL])
@torch.no_grad()
def test_a_kernel_that_fails_is_passed_over(
    kernel: Any, model: PreTrainedModel, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real one, too: the models here lie on a CPU."""
    put(monkeypatch, kernel)
    expected = alone(model, tokens)
    base = base_of(model)
    assert base.pack()
    assert base.attention == model.config._attn_implementation == "packed"
    torch.testing.assert_close(base(tokens).values_TD, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "why"),
    [
        (_raises, "RuntimeError: FlashAttention only supports Ampere GPUs or newer."),
        (_everything_seen, "gives other states"),
    ],
)
def test_a_kernel_that_is_passed_over_is_told_of(
    kernel: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, kernel)
    base = base_of(made(PACKED[0]))
    assert base.pack()
    assert base.passed_over[VARLEN] == why
    (note,) = performance_notes(base, None, CacheSettings(max_gb=0), FeaturePlan((), ()))
    assert note.endswith(f"which is slower: {why}")
    put(monkeypatch, Kernel(torch.float32))
    assert base.pack()
    assert not base.passed_over
    assert not performance_notes(base, None, CacheSettings(max_gb=0), FeaturePlan((), ()))


def test_a_torch_without_the_kernel_does_without(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, None)
    monkeypatch.delattr(varlen, "varlen_attn")
    base = base_of(model)
    assert base.pack()
    assert base.attention == "packed"


@pytest.mark.parametrize("config", PADDED, ids=lambda config: config.model_type)
@torch.no_grad()
def test_a_model_that_cannot_run_packed_stays_padded(
    config: PretrainedConfig, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, Kernel(torch.float32))
    model = made(config)
    before = model.config._attn_implementation
    base = base_of(model)
    assert not base.pack()
    assert base.attention == "padded"
    assert model.config._attn_implementation == before
    torch.testing.assert_close(base(tokens).values_TD, alone(model, tokens), rtol=0, atol=1e-5)


def test_dropout_goes_the_other_way(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(torch.float32)
    put(monkeypatch, kernel)
    packing = Packing.of(tokens)
    query, key, value = (torch.randn(1, h, len(packing.position_P), 8) for h in (4, 2, 2))
    settings: dict[str, Any] = {"scaling": 0.3, "sliding_window": 5, "is_causal": True}
    with packed(packing):
        torch.manual_seed(0)
        got, _ = varlen_attention(nn.Module(), query, key, value, None, dropout=0.5, **settings)
        torch.manual_seed(0)
        want, _ = attention(nn.Module(), query, key, value, None, dropout=0.5, **settings)
        assert torch.equal(got, want)
        assert not kernel.calls
        got, _ = varlen_attention(nn.Module(), query, key, value, None, **settings)
        want, _ = attention(nn.Module(), query, key, value, None, **settings)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-6)
    assert len(kernel.calls) == 1


def test_the_kernel_is_tried_on_a_gpu_in_half_precision() -> None:
    gpu, cpu = torch.device("cuda", 1), torch.device("cpu")
    assert [ways(gpu, dtype) for dtype in HALF] == [(VARLEN, NAME)] * 2
    assert ways(gpu, torch.float32) == (NAME,)
    assert [ways(cpu, dtype) for dtype in (*HALF, torch.float32)] == [(NAME,)] * 3


# From here on, the kernel itself.

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel needs CUDA")


@on_a_gpu
@pytest.mark.parametrize("window", [FULL, CAUSAL, (0, 0), (3, 0), (3, 3), (40, 40)])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
@pytest.mark.parametrize("dtype", HALF)
def test_the_kernel_is_what_stands_for_it_here(
    dtype: torch.dtype, heads: tuple[int, int], window: tuple[int, int], tokens: Tokens
) -> None:
    packing = Packing.of(tokens)
    total, (many, few) = len(packing.position_P), heads
    given = [torch.randn(total, h, 16).to(dtype) for h in (many, few, few)]
    weight = torch.randn(total, many, 16)

    def run(kernel: Any, device: str) -> list[Tensor]:
        inputs = [tensor.detach().to(device).requires_grad_() for tensor in given]
        cu_seq = packing.cu_seq.to(device)
        query, key, value = inputs
        options: dict[str, Any] = {}
        if "enable_gqa" in inspect.signature(REAL).parameters:
            options["enable_gqa"] = many != few
        else:  # torch 2.11
            key, value = (side.repeat_interleave(many // few, 1) for side in (key, value))
        out = kernel(
            query, key, value, cu_seq, cu_seq, packing.longest, packing.longest,
            scale=0.3, window_size=window, **options,
        )  # fmt: skip
        loss = (out.float() * weight.to(device)).sum()
        return [out, *torch.autograd.grad(loss, inputs)]

    for got, want in zip(run(REAL, "cuda"), run(Kernel(), "cpu"), strict=True):
        torch.testing.assert_close(got.cpu().float(), want.float(), rtol=0.02, atol=0.05)


@on_a_gpu
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("config", PACKED, ids=lambda config: config.model_type)
def test_a_base_on_a_gpu_runs_by_the_kernel(
    config: PretrainedConfig, dtype: torch.dtype, tokens: Tokens
) -> None:
    device = torch.device("cuda")
    model = made(config, dtype).to(device)
    exact = base_of(copy.deepcopy(model).float())
    base = base_of(model)
    adapter = adapted(model)
    there = Tokens(tokens.ids_T.to(device), tokens.offsets.to(device))
    assert base.attention == "padded"
    states, expected = base(there).values_TD, gradients(base, there, adapter)
    assert base.pack()
    assert base.attention == "packed_varlen"
    true = exact(there).values_TD
    # Both round to half precision, in different orders.
    assert torch.dist(base(there).values_TD.float(), true) < 1.5 * torch.dist(states.float(), true)
    assert_same_direction(gradients(base, there, adapter), expected)
