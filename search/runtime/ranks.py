"""The workers of one lane, as one trial sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_autograd
from torch import Tensor, nn

T = TypeVar("T")


class Ranks:
    """The process group of a lane, or a single process.

    Attributes:
        rank: this worker, from 0.
        size: how many there are.
    """

    def __init__(self) -> None:
        joined = dist.is_available() and dist.is_initialized()
        self.rank: int = dist.get_rank() if joined else 0
        self.size: int = dist.get_world_size() if joined else 1

    def part(self, total: int) -> slice:
        """This worker's share of a batch of ``total``, which the size divides."""
        share = total // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def gather(self, rows_BE: Tensor) -> Tensor:
        """Every worker's rows, in order of rank; gradients flow back to the worker they came from.

        The gradient that arrives at a worker is the sum over the workers' losses. Where the mean of
        these is the loss of a single process with the whole batch, and `average` then takes the
        mean over the workers, every parameter gets the gradient that this process would give it.
        """
        if self.size == 1:
            return rows_BE
        return torch.cat(dist_autograd.all_gather(rows_BE))  # type: ignore[no-untyped-call]

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the workers, in one message.

        DDP would hide the time of this behind the backward pass, but knows neither chunks nor
        parameters outside the forward call; adapters and heads are small.
        """
        if self.size == 1 or not parameters:
            return
        flat = torch.cat([
            (torch.zeros_like(p) if p.grad is None else p.grad).flatten().float()
            for p in parameters
        ])  # fmt: skip
        dist.all_reduce(flat)
        parts = (flat / self.size).split_with_sizes([p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter).to(parameter.dtype)

    def collect(self, value: T) -> list[T]:
        """Every worker's value, in order of rank, without gradients."""
        if self.size == 1:
            return [value]
        values = [value] * self.size  # replaced
        dist.all_gather_object(values, value)
        return values

    def agree(self, value: T) -> T:
        """The value of rank 0, on every worker."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def flag(self, value: bool) -> bool:
        """The flag of rank 0, on every worker: a byte, which waits for no GPU."""
        if self.size == 1:
            return value
        byte = torch.tensor([value], dtype=torch.uint8)
        dist.broadcast(byte, src=0)
        return bool(byte.item())
