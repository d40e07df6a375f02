"""Packed sentences: one flat tensor and the offsets that cut it.

No mask, no padding and no padding side exist here, so no component can mistake one.

Letters: T tokens of all sentences, B sentences, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


def segment_softmax(scores_TH: Tensor, offsets: Tensor) -> Tensor:
    """Softmax over the tokens of each sentence, for each column on its own.

    Args:
        scores_TH: one score a token and head.
        offsets: (B + 1,) int64, sentence b is rows ``offsets[b]:offsets[b + 1]``.

    Returns:
        weights_TH: positive, summing to 1 over each sentence.
    """
    lengths_B, size = offsets.diff(), len(scores_TH)  # unless told, a GPU is asked for the size
    with torch.no_grad():  # the shift cancels in the quotient, so it needs no gradient
        top_BH = torch.segment_reduce(scores_TH, "max", lengths=lengths_B, axis=0, unsafe=True)
        top_TH = top_BH.repeat_interleave(lengths_B, dim=0, output_size=size)
    exp_TH = (scores_TH - top_TH).exp()
    total_BH = segment_sum(exp_TH, offsets)
    return exp_TH / total_BH.repeat_interleave(lengths_B, dim=0, output_size=size)


def segment_sum(values_TD: Tensor, offsets: Tensor) -> Tensor:
    """Sum over the tokens of each sentence: (T, D) -> (B, D)."""
    return torch.segment_reduce(values_TD, "sum", lengths=offsets.diff(), axis=0, unsafe=True)


@dataclass(frozen=True)
class Tokens:
    """Token ids of B sentences, end to end.

    Attributes:
        ids_T: (T,) int64.
        offsets: (B + 1,) int64, ``offsets[0] == 0`` and ``offsets[-1] == T``; no sentence is empty.
        host_offsets: the same on the CPU, where they are at hand: a GPU that is asked for them
            first does all that it has to do.
    """

    ids_T: Tensor
    offsets: Tensor
    host_offsets: Tensor | None = None

    @classmethod
    def of(cls, sentences: list[list[int]], device: torch.device | str = "cpu") -> Tokens:
        """Pack lists of token ids."""
        lengths = torch.tensor([0, *map(len, sentences)], dtype=torch.int64)
        ids = torch.tensor([i for sentence in sentences for i in sentence], dtype=torch.int64)
        return cls(ids.to(device), lengths.cumsum(0).to(device))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths_B(self) -> Tensor:
        """Tokens of each sentence, (B,) int64."""
        return self.offsets.diff()


@dataclass(frozen=True)
class Statistics:
    """What is stored of the states of B sentences, under the names that `States` has for it.

    Attributes:
        stored: name of one of the properties below -> its values, (B, D) or (B, 1) float32.
    """

    stored: Callable[[str], Tensor]

    @cached_property
    def count(self) -> Tensor:
        """As `States.count`."""
        return self.stored("count")

    @cached_property
    def mean(self) -> Tensor:
        """As `States.mean`."""
        return self.stored("mean")

    @cached_property
    def max(self) -> Tensor:
        """As `States.max`."""
        return self.stored("max")

    @cached_property
    def ramp(self) -> Tensor:
        """As `States.ramp`."""
        return self.stored("ramp")

    @cached_property
    def first(self) -> Tensor:
        """As `States.first`."""
        return self.stored("first")

    @cached_property
    def last(self) -> Tensor:
        """As `States.last`."""
        return self.stored("last")


STATISTICS = ("count", "mean", "max", "ramp", "first", "last")


@dataclass(frozen=True)
class States:
    """Hidden states of the tokens of B sentences, packed end to end.

    ``mean``, ``max``, ``first``, ``last``, ``ramp`` and ``count`` are computed when asked for. A
    pooling that asks for nothing else also runs on stored statistics that offer the same names.

    Attributes:
        values_TD: (T, D), any floating dtype.
        offsets, host_offsets: (B + 1,) int64, as in `Tokens`.
    """

    values_TD: Tensor
    offsets: Tensor
    host_offsets: Tensor | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths_B(self) -> Tensor:
        """Tokens of each sentence, (B,) int64."""
        return self.offsets.diff()

    @cached_property
    def count(self) -> Tensor:
        """Tokens of each sentence, (B, 1) float32: broadcasts against (B, D)."""
        return self.lengths_B.to(torch.float32).unsqueeze(1)

    @cached_property
    def mean(self) -> Tensor:
        """Mean over the tokens of each sentence, (B, D) float32."""
        return segment_sum(self.wide_TD, self.offsets) / self.count

    @cached_property
    def max(self) -> Tensor:
        """Largest value of each dimension over the tokens of each sentence, (B, D) float32."""
        return torch.segment_reduce(
            self.wide_TD, "max", lengths=self.lengths_B, axis=0, unsafe=True
        )

    @cached_property
    def ramp(self) -> Tensor:
        """Mean over the tokens with weights 1, 2, ..., n by their place, (B, D) float32."""
        size = len(self.values_TD)
        starts_T = self.offsets[:-1].repeat_interleave(self.lengths_B, output_size=size)
        place_T = torch.arange(1, len(starts_T) + 1, device=starts_T.device) - starts_T
        total = self.count * (self.count + 1) / 2
        return segment_sum(self.wide_TD * place_T.unsqueeze(1), self.offsets) / total

    @cached_property
    def first(self) -> Tensor:
        """State of the first token of each sentence, (B, D) float32."""
        return self.values_TD[self.offsets[:-1]].float()

    @cached_property
    def last(self) -> Tensor:
        """State of the last token of each sentence, (B, D) float32."""
        return self.values_TD[self.offsets[1:] - 1].float()

    @cached_property
    def wide_TD(self) -> Tensor:
        """The values in float32, in which sums over many tokens keep their digits."""
        return self.values_TD.float()
