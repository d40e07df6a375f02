"""Run a transformer on packed tokens, without any padding.

Everything in a transformer but attention works token by token, so it runs on the T real tokens laid
end to end as one sequence. Only attention must know where sentences end. They are laid out by
length, so that those of one length stand together: to attention a run of them is a plain batch,
a view of the packed tokens that needs neither padding nor a mask (`attention`). On a GPU, in half
precision, torch has a kernel that takes all lengths at once (`varlen_attention`).

What a sentence comes out as does not depend on its company: attention sees sentences of its own
length only, and the number of tokens that the other layers are given is a round one. In float32 on
a CPU the states are the same bit for bit in whatever batch a sentence stands, so that stored ones
can take the place of computed ones and nothing changes.

Letters: T tokens, P the same with fillers, B sentences of one length L, H heads, K width of a head.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from components.autograd import PassContext
from components.ragged import States, Tokens

NAME = "packed"
VARLEN = "packed_varlen"
# What torch's kernel for packed sentences takes.
HALF = (torch.float16, torch.bfloat16)
# Tokens are filled up to a multiple of this: products of very few rows sum in another order, and so
# may what is left over when a processor takes numbers by the vector.
MULTIPLE = 16


def ways(device: torch.device, dtype: torch.dtype) -> tuple[str, ...]:
    """Names of the ways to attend over packed sentences that are worth a try, the fastest first."""
    return (VARLEN, NAME) if device.type == "cuda" and dtype in HALF else (NAME,)


@dataclass(frozen=True)
class Packing:
    """How the tokens of a batch are laid out, computed once for all layers.

    By the length of their sentences, the shortest first; then come fillers, a sentence of their
    own, so that they do not affect the others.

    Attributes:
        lengths: of the sentences as they are laid out, fillers last, int64, on the CPU.
        source_T: which of the given tokens each packed one is, fillers left out.
        place_T: where each given token stands among the packed ones.
    """

    lengths: Tensor
    source_T: Tensor
    place_T: Tensor

    @classmethod
    def of(cls, given: Tokens | States) -> Packing:
        """Lay out a batch."""
        offsets, device = given.host_offsets, given.offsets.device
        if offsets is None:
            offsets = given.offsets.cpu()
        lengths, order = torch.sort(offsets.diff(), stable=True)
        starts = lengths.cumsum(0) - lengths
        shift_T = (offsets[:-1][order] - starts).repeat_interleave(lengths)
        source_T = torch.arange(len(shift_T)) + shift_T
        missing = -len(source_T) % MULTIPLE
        return cls(
            functional.pad(lengths, (0, 1), value=missing) if missing else lengths,
            # From pageable memory this is safe, and it does not wait for the device's work.
            source_T.to(device, non_blocking=True),
            torch.argsort(source_T).to(device, non_blocking=True),
        )

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """Sentences of one length that stand together: how many, and how long."""
        lengths, counts = torch.unique_consecutive(self.lengths, return_counts=True)
        return list(zip(counts.tolist(), lengths.tolist(), strict=True))

    @cached_property
    def cu_seq(self) -> Tensor:
        """The ends of sentences as the kernel takes them, int32."""
        ends = functional.pad(self.lengths.cumsum(0), (1, 0))
        return ends.to(torch.int32).to(self.place_T.device, non_blocking=True)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest sentence."""
        return int(self.lengths.max())

    @cached_property
    def position_P(self) -> Tensor:
        """Place of each packed token in its sentence, from 0."""
        starts = self.lengths.cumsum(0) - self.lengths
        starts_P = starts.repeat_interleave(self.lengths)
        place_P = torch.arange(len(starts_P)) - starts_P
        return place_P.to(self.place_T.device, non_blocking=True)

    def pack(self, given: Tensor) -> Tensor:
        """Something of each given token, laid out; zero for fillers."""
        packed_P = given.new_zeros(int(self.lengths.sum()), *given.shape[1:])
        packed_P[: len(self.source_T)] = given[self.source_T]
        return packed_P

    def unpack(self, values_PD: Tensor) -> Tensor:
        """What was made of each packed token, in the order of the given ones, without fillers."""
        values_TD: Tensor = _Unpack.apply(values_PD, self)  # type: ignore[no-untyped-call]
        return values_TD


class _PackedContext(PassContext, Protocol):
    packing: Packing


class _Unpack(torch.autograd.Function):
    """Rows in their old order.

    Each is named once, so the gradient is the same move backwards; torch's own indexing does not
    know that and adds up row by row.
    """

    @staticmethod
    def forward(ctx: _PackedContext, values_PD: Tensor, packing: Packing) -> Tensor:
        ctx.packing = packing
        return values_PD[packing.place_T]

    @staticmethod
    def backward(ctx: _PackedContext, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.packing.pack(grads[0]), None


_current: ContextVar[Packing] = ContextVar("packing")


@contextmanager
def packed(packing: Packing) -> Iterator[None]:
    """Let attention know, for the calls inside, how the batch is packed."""
    token = _current.set(packing)
    try:
        yield
    finally:
        _current.reset(token)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention over packed sentences, as transformers calls it.

    Args:
        query, key, value: (1, H, T, K); key and value may have fewer heads (grouped queries).
        attention_mask: ignored: packed sentences have none.

    Returns:
        (1, T, H, K), and no weights.
    """
    causal = _causal(module, is_causal)
    packing = _current.get()
    sizes = [rows * length for rows, length in packing.runs]
    by_run = (torch.split(t.squeeze(0).transpose(0, 1), sizes) for t in (query, key, value))
    parts = []
    for (rows, length), *run in zip(packing.runs, *by_run, strict=True):
        query_BHLK, key_BHLK, value_BHLK = (
            tensor.unflatten(0, (rows, length)).transpose(1, 2) for tensor in run
        )
        mask = _window(length, causal, sliding_window, query.device)
        mixed_BHLK = functional.scaled_dot_product_attention(
            query_BHLK,
            key_BHLK,
            value_BHLK,
            attn_mask=mask,
            dropout_p=dropout,
            is_causal=causal and mask is None,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        parts.append(mixed_BHLK.transpose(1, 2).flatten(0, 1))
    out_THK = torch.cat(parts)
    return out_THK.unsqueeze(0), None


def varlen_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """The same as `attention` by torch's kernel for packed sentences, which pads nothing.

    The kernel needs a CUDA device, float16 or bfloat16 and heads of a multiple of 8, at most 256
    wide; it raises elsewhere. It has no dropout: with some, this is `attention`.
    """
    if dropout:
        return attention(
            module, query, key, value, None, scaling, dropout, sliding_window, is_causal
        )
    # Not at the top: a torch without it raises here, and `Base.pack` goes on to the next way.
    from torch.nn.attention.varlen import varlen_attn

    packing = _current.get()
    query_THK, key_THK, value_THK = (t.squeeze(0).transpose(0, 1) for t in (query, key, value))
    options: dict[str, Any] = {}
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        if "enable_gqa" in inspect.signature(varlen_attn).parameters:
            options["enable_gqa"] = True
        else:  # torch 2.11: every query head needs a key head of its own
            key_THK, value_THK = (t.repeat_interleave(groups, 1) for t in (key_THK, value_THK))
    # The kernel counts the tokens on either side; a window has the token itself in it.
    behind = -1 if sliding_window is None else sliding_window - 1
    ahead = 0 if _causal(module, is_causal) else behind
    mixed_THK = varlen_attn(
        query_THK,
        key_THK,
        value_THK,
        packing.cu_seq,
        packing.cu_seq,
        packing.longest,
        packing.longest,
        scale=scaling,
        window_size=(behind, ahead),
        **options,
    )
    assert isinstance(mixed_THK, Tensor)  # nothing beside it was asked for
    return mixed_THK.unsqueeze(0), None


def _causal(module: nn.Module, is_causal: bool | None) -> bool:
    return bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)


def _window(length: int, causal: bool, window: int | None, device: torch.device) -> Tensor | None:
    """Which token of a sentence may see which, or None where causality says it all."""
    if window is None or window >= length:
        return None
    step_L = torch.arange(length, device=device)
    behind_LL = step_L[:, None] - step_L[None, :]
    return ((behind_LL >= 0) | (not causal)) & (behind_LL.abs() < window)


AttentionInterface.register(NAME, attention)
AttentionInterface.register(VARLEN, varlen_attention)
