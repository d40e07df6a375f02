"""Initial weights that keep the base's space, so that a head starts from what the base knows.

A randomly initialised projection throws away the alignment between languages that a base already
has; a search then spends its first epochs on learning it again. With the initial weights here the
cosine between two embeddings is, before the first step, that of the pooled vectors (exactly, or
as near as a projection onto fewer dimensions allows).

Letters: D width of the input, E of the output, K of the dimensions that are kept.
"""

from __future__ import annotations

from abc import ABC
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from components.interface import HeadConfig

Init = Literal["identity", "orthogonal", "random"]


def kept_directions(count: int, width: int, init: Init) -> Tensor:
    """Choose orthonormal directions of the input space, as rows (K, D).

    Args:
        count: K; at most D.
        width: D.
        init: with ``identity`` and K = D, the axes themselves; otherwise random rows from torch's
            global random state (Saxe et al., 2014, Exact Solutions to the Nonlinear Dynamics of
            Learning, section 4).
    """
    if init == "identity" and count == width:
        return torch.eye(width)
    return nn.init.orthogonal_(torch.empty(count, width))


@torch.no_grad()
def start_linear(linear: nn.Linear, init: Init) -> None:
    """Set the initial weights of a linear layer D -> E.

    ``identity``: the first K = min(D, E) outputs are the input (E >= D; further outputs are zero),
    or its products with K orthonormal rows (E < D). ``orthogonal``: orthonormal rows in both cases.
    ``random``: torch's default, uniform in +-1/sqrt(D). The bias starts at zero, except with
    ``random``.
    """
    if init == "random":
        return
    out, width = linear.weight.shape
    count = min(out, width)
    linear.weight.zero_()
    linear.weight[:count] = kept_directions(count, width, init)
    if linear.bias is not None:
        linear.bias.zero_()


@torch.no_grad()
def start_selection(linear: nn.Linear, count: int) -> None:
    """Make a linear layer pass on its first K inputs as its first K outputs, and nothing else."""
    linear.weight.zero_()
    linear.weight[:count, :count] = torch.eye(count)
    linear.bias.zero_()


class WideHeadConfig(HeadConfig, ABC):
    """Settings of a head whose output may have any width.

    Attributes:
        width: dimensions of the embedding; None for the base's own width.
        init: initial weights. ``identity`` keeps the base's space: the head starts as the identity,
            padded with zeros where the embedding is wider, or as a projection onto orthonormal
            directions where it is narrower, which costs some accuracy (.01 from 384 to 256).
            ``orthogonal`` starts from random orthonormal directions, ``random`` from torch's
            default, which forgets what the base aligned.
    """

    width: Annotated[int, Field(ge=1)] | None = 768
    init: Init = "identity"

    def out(self, width: int) -> int:
        return width if self.width is None else self.width
