"""The mean of tensors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def mean_of(tensors: Sequence[Tensor]) -> Tensor:
    """Mean of tensors of one shape, which are read from the disk one after another if need be."""
    total = tensors[0] / len(tensors)
    for tensor in tensors[1:]:
        total += tensor / len(tensors)
    return total
