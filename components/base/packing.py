"""Run a transformer on packed tokens: padding exists inside attention only, or nowhere.

Everything else in a transformer works token by token, so it runs on the T real tokens laid end to
end as one sequence. Only attention must know where sentences end. On a GPU, in half precision,
torch has a kernel that takes them as they lie (`varlen_attention`); elsewhere, in there alone, they
are padded in chunks of similar length (`attention`).

Where attention pads, what a sentence comes out as does not depend on its company: the length it is
padded to is a matter of its own length alone, since attention sums in another order for another
length, and the number of tokens that the other layers are given is a round one. In float32 on a
CPU the states are the same bit for bit in whatever batch a sentence stands, so that stored ones can
take the place of computed ones and nothing changes.

Letters: T tokens, B sentences of a chunk, L tokens of its longest, H heads, K width of a head.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from components.ragged import Tokens

NAME = "packed"
VARLEN = "packed_varlen"
# What torch's kernel for packed sentences takes.
HALF = (torch.float16, torch.bfloat16)
# Steps of padded lengths from one power of two to the next: more are less padding and more calls.
STEPS = 4
SHORTEST = 8
# Tokens are filled up to a multiple of this: products of very few rows sum in another order, and so
# may what is left over when a processor takes numbers by the vector.
MULTIPLE = 16


def ways(device: torch.device, dtype: torch.dtype) -> tuple[str, ...]:
    """Names of the ways to attend over packed sentences that are worth a try, the fastest first."""
    return (VARLEN, NAME) if device.type == "cuda" and dtype in HALF else (NAME,)


def padded_length(length: int, most: int | None = None) -> int:
    """What a sentence of so many tokens is padded to inside attention.

    Args:
        most: the longest that the model takes.
    """
    if length <= SHORTEST:
        padded = SHORTEST
    else:
        step = max(1, 2 ** (length - 1).bit_length() // (2 * STEPS))
        padded = -(-length // step) * step
    return padded if most is None else max(length, min(padded, most))


@dataclass(frozen=True)
class Chunk:
    """Some sentences of similar length.

    Attributes:
        place_N: where their N tokens stand among the T packed ones.
        slot_N: where they stand in the padded chunk, counted row by row.
        rows, longest: B and L.
    """

    place_N: Tensor
    slot_N: Tensor
    rows: int
    longest: int

    @cached_property
    def real_BL(self) -> Tensor:
        """Which slots of the padded chunk hold a token, bool."""
        real = torch.zeros(self.rows * self.longest, dtype=torch.bool, device=self.slot_N.device)
        real[self.slot_N] = True
        return real.view(self.rows, self.longest)


@dataclass(frozen=True)
class Packing:
    """Where the sentences of a batch lie, computed once for all layers.

    Attributes:
        offsets: (B + 1,) int64, on the CPU; sentence b is tokens ``offsets[b]:offsets[b + 1]``.
        device: of all that is computed from them.
        most: the longest that the model takes, or None.
    """

    offsets: Tensor
    device: torch.device
    most: int | None

    @classmethod
    def of(cls, tokens: Tokens, most: int | None = None) -> Packing:
        """How a batch is packed."""
        return cls(tokens.offsets.cpu(), tokens.offsets.device, most)

    @cached_property
    def cu_seq(self) -> Tensor:
        """The offsets as the kernel takes them, int32."""
        return self.offsets.to(self.device, torch.int32)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest sentence."""
        return int(self.offsets.diff().max())

    @cached_property
    def position_T(self) -> Tensor:
        """Place of each token in its sentence, from 0."""
        starts_T = self.offsets[:-1].repeat_interleave(self.offsets.diff())
        return (torch.arange(len(starts_T)) - starts_T).to(self.device)

    @cached_property
    def chunks(self) -> list[Chunk]:
        """The sentences by padded length."""
        lengths_B, starts_B = self.offsets.diff(), self.offsets[:-1]
        rows_by_length: dict[int, list[int]] = {}
        for row, length in enumerate(lengths_B.tolist()):
            rows_by_length.setdefault(padded_length(length, self.most), []).append(row)
        chunks = []
        for longest, rows in rows_by_length.items():
            rows_B = torch.tensor(rows)
            column_L = torch.arange(longest)
            real_BL = column_L < lengths_B[rows_B].unsqueeze(1)
            place_N = (starts_B[rows_B].unsqueeze(1) + column_L)[real_BL].to(self.device)
            slot_N = real_BL.flatten().nonzero().squeeze(1).to(self.device)
            chunks.append(Chunk(place_N, slot_N, len(rows_B), longest))
        return chunks

    @cached_property
    def place_T(self) -> Tensor:
        """Where the tokens of all chunks, one chunk after another, stand among the packed ones."""
        return torch.cat([chunk.place_N for chunk in self.chunks])

    @cached_property
    def slot_T(self) -> Tensor:
        """Where they stand in the padded chunks, laid end to end."""
        sizes = [chunk.rows * chunk.longest for chunk in self.chunks]
        starts = itertools.accumulate(sizes[:-1], initial=0)
        return torch.cat([c.slot_N + start for c, start in zip(self.chunks, starts, strict=True)])


class _Move(torch.autograd.Function):
    """Rows of a tensor to given rows of a new one, zero elsewhere.

    Source and target rows are each named once at most, so the gradient is the same move backwards;
    torch's own indexing does not know that and adds up row by row.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, source: Tensor, target: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(source, target)
        ctx.size = len(values)
        moved = values.new_zeros(size, *values.shape[1:])
        moved[target] = values[source]
        return moved

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        source, target = ctx.saved_tensors
        back = grads[0].new_zeros(ctx.size, *grads[0].shape[1:])
        back[source] = grads[0][target]
        return back, None, None, None


def _move(values: Tensor, source: Tensor, target: Tensor, size: int) -> Tensor:
    moved: Tensor = _Move.apply(values, source, target, size)  # type: ignore[no-untyped-call]
    return moved


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
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention over packed sentences, as transformers calls it.

    Args:
        query, key, value: (1, H, T, K); key and value may have fewer heads (grouped queries).
        attention_mask: ignored: packed sentences have none.

    Returns:
        (1, T, H, K), and no weights.
    """
    causal = _causal(module, is_causal)
    packed_THK = [tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value)]
    packing = _current.get()
    parts = []
    for chunk in packing.chunks:
        size = chunk.rows * chunk.longest
        query_BHLK, key_BHLK, value_BHLK = (
            _move(tensor, chunk.place_N, chunk.slot_N, size)
            .view(chunk.rows, chunk.longest, *tensor.shape[1:])
            .transpose(1, 2)
            for tensor in packed_THK
        )
        mask = _mask(chunk, causal, sliding_window)
        mixed_BHLK = nn.functional.scaled_dot_product_attention(
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
    # All chunks' slots end to end, and back into the order of the packed tokens at once.
    slots = torch.cat(parts)
    out_THK = _move(slots, packing.slot_T, packing.place_T, query.shape[2])
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
    **_: Any,
) -> tuple[Tensor, None]:
    """The same as `attention` by torch's kernel for packed sentences, which pads nothing.

    The kernel needs a CUDA device, float16 or bfloat16 and heads of a multiple of 8, at most 256
    wide; it raises elsewhere. It has no dropout: with some, this is `attention`.
    """
    if dropout:
        return attention(
            module, query, key, value, None, scaling, dropout, sliding_window, is_causal
        )
    # Not at the top: a torch without it, or whose kernel knows no grouped queries yet (2.11),
    # raises here, and `Base.pack` goes on to the next way.
    from torch.nn.attention.varlen import varlen_attn

    packing = _current.get()
    query_THK, key_THK, value_THK = (t.squeeze(0).transpose(0, 1) for t in (query, key, value))
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
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(mixed_THK, Tensor)  # nothing beside it was asked for
    return mixed_THK.unsqueeze(0), None


def _causal(module: nn.Module, is_causal: bool | None) -> bool:
    return bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)


def _mask(chunk: Chunk, causal: bool, window: int | None) -> Tensor | None:
    """Which token may see which, or None where causality says it all.

    Behind the last token of a sentence there are only pads, so a causal mask needs no other.
    """
    if window is not None and window >= chunk.longest:
        window = None
    if causal and window is None:
        return None
    mask = chunk.real_BL[:, None, None, :]
    if window is not None:
        step_L = torch.arange(chunk.longest, device=mask.device)
        behind_LL = step_L[:, None] - step_L[None, :]
        mask = mask & (behind_LL.abs() < window)
        if causal:
            mask = mask & (behind_LL >= 0)
    # A pad in a bidirectional window may see nothing; NaN from it would spoil the gradients.
    return mask | ~chunk.real_BL[:, None, :, None]


AttentionInterface.register(NAME, attention)
AttentionInterface.register(VARLEN, varlen_attention)
