"""Residual head."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from components.interface import Head
from components.projection import Init, WideHeadConfig, start_linear, start_selection
from components.stock import ACTIVATIONS, Activation, StockModule, stock_dense

# Of torch's default: the blocks start as a small disturbance, with a gradient for any activation.
BLOCK_SCALE = 0.01


class Residual(WideHeadConfig):
    """A deep head of residual blocks with layer normalisation."""

    kind: Literal["residual"] = "residual"
    hidden: int = Field(default=1024, ge=1, description="dimensions of the blocks")
    depth: int = Field(default=2, ge=1, le=16, description="blocks")
    activation: Activation = Field(default="gelu", description="inside each block")

    def build(self, width: int, families: Sequence[str] = ()) -> Head:
        activation = ACTIVATIONS[self.activation]
        head = ResidualHead(width, self.hidden, self.out(width), self.depth, activation)
        start_near_identity(head, self.init)
        return head


class ResidualHead(Head):
    """Residual blocks with layer normalisation, between a linear layer in and one out.

    ``h = V pooled + c``, then ``h = LayerNorm(h + act(W_i h + b_i))`` for each of the blocks, then
    ``emb = U h + d``: (D + 1) x hidden + depth x (hidden + 3) x hidden + (hidden + 1) x E
    parameters (7,085,824 for 4096 -> 768 with two blocks of 1024).

    By default it starts near the identity: V and U keep the base's space and the W_i are small. The
    layer norms subtract a sentence's mean over all dimensions even then, which turns its vector
    a little; the scale that they remove does not matter to a cosine.

    Sources: He et al., 2016, Deep Residual Learning, section 3.2; Ba et al., 2016, Layer
    Normalization; Vaswani et al., 2017, section 3.1 (the norm after the sum).

    Departures: one weight layer in a block, where He et al. have two or three; and the norm stands
    after the sum though Xiong et al., 2020, find deep stacks steadier with it before. Both are what
    stock sentence-transformers modules can express, so that an export needs no code of its own.

    Attributes:
        activation: name of a class under ``torch.nn``.
    """

    def __init__(self, width: int, hidden: int, out: int, depth: int, activation: str) -> None:
        super().__init__()
        self.width = width
        self.hidden = hidden
        self.out = out
        self.depth = depth
        self.activation = activation
        self.enter = nn.Linear(width, hidden)
        self.blocks = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(depth))
        self.leave = nn.Linear(hidden, out)
        self.act: nn.Module = getattr(nn, activation)()

    def forward(self, pooled_BD: Tensor, family_B: Tensor) -> Tensor:
        hidden_BH = self.enter(pooled_BD)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            hidden_BH = norm(hidden_BH + self.act(block(hidden_BH)))
        emb_BE: Tensor = self.leave(hidden_BH)
        return emb_BE

    def stock(self) -> list[StockModule]:
        described = [stock_dense(self.enter, "Identity")]
        for block, norm in zip(self.blocks, self.norms, strict=True):
            assert isinstance(block, nn.Linear)
            dense = stock_dense(block, self.activation)
            weights = {f"norm.{name}": tensor for name, tensor in norm.state_dict().items()}
            described += [
                replace(dense, arguments={**dense.arguments, "use_residual": True}),
                StockModule("LayerNorm", {"dimension": self.hidden}, weights),
            ]
        return [*described, stock_dense(self.leave, "Identity")]


@torch.no_grad()
def start_near_identity(head: ResidualHead, init: Init) -> None:
    """Set initial weights at which the blocks add little and the layers around them keep the space.

    With ``random``, nothing is set.
    """
    if init == "random":
        return
    start_linear(head.enter, init)
    for block in head.blocks:
        assert isinstance(block, nn.Linear)
        block.weight.mul_(BLOCK_SCALE)
        block.bias.zero_()
    start_selection(head.leave, min(head.width, head.hidden, head.out))
