"""How exactly products in float32 are computed on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def use_tensor_cores(device: torch.device | str) -> None:
    """Let products of float32 matrices on a GPU round their factors to TF32, here and after.

    TF32 keeps 10 of the 23 bits of a factor, more than bfloat16, and is several times as fast;
    sums stay in float32. Heads, losses and adapters of the base's own weights are in float32. On a
    CPU nothing changes.
    """
    if torch.device(device).type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True


@contextmanager
def exact_products() -> Iterator[None]:
    """Compute products of float32 matrices in full, in the calls inside.

    For comparisons of embeddings: of two neighbours that are nearly as near, the nearest counts.
    """
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
