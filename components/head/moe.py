"""Mixture of experts as a head."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from components.interface import Head
from components.projection import Init, WideHeadConfig, start_linear


class Moe(WideHeadConfig):
    """Several linear layers, mixed for each sentence by weights that its pooled vector gives."""

    kind: Literal["moe"] = "moe"
    experts: int = Field(default=4, ge=2, le=256, description="projections that are mixed")
    balance: float = Field(
        default=0.01, ge=0, description="weight of the penalty for experts used unevenly"
    )

    def build(self, width: int, families: Sequence[str] = ()) -> Head:
        head = MoeHead(width, self.out(width), self.experts, self.balance)
        start_around_identity(head, self.init)
        return head


class MoeHead(Head):
    """Several linear layers, mixed for each sentence by weights that its pooled vector gives.

    ``p = softmax(G pooled / sqrt(D))`` and ``emb = sum_k p_k (W_k pooled + b_k)``, for K experts:
    K x (D x E + E) + K x D parameters (12,602,368 for 4096 -> 768 and four experts). Every expert
    sees every sentence (soft routing), so nothing is dropped and every weight has a gradient. The
    gate G starts at zero, where each expert has the weight 1 / K; the experts start apart, and by
    default so that their mean is the identity, padded or projected as in a linear head.

    The penalty is ``balance * CV²``, the squared coefficient of variation of the experts' mean
    weights over the batch: with ``P_k = mean_b p_bk`` it is ``K sum_k P_k² - 1``, zero where all
    are used alike and K - 1 where one takes all.

    Sources: Jacobs et al., 1991, Adaptive Mixtures of Local Experts (the mixture); Shazeer et al.,
    2017, Outrageously Large Neural Networks, section 4, equations 6 and 7 (the penalty). The same
    penalty, but for the constant, is equation 4 of Fedus et al., 2022, Switch Transformers, with
    its ``f_k`` replaced by ``P_k``.

    Departure: the gate's input is divided by sqrt(D), as the scores of an attention are; else a
    step of the optimizer on D weights at once would settle on one expert.
    """

    def __init__(self, width: int, out: int, experts: int, balance: float) -> None:
        super().__init__()
        self.width = width
        self.out = out
        self.experts = experts
        self.balance = balance
        self.gate = nn.Linear(width, experts, bias=False)
        nn.init.zeros_(self.gate.weight)
        # The experts end to end: a row's range depends on D alone, so each starts as on its own.
        self.project = nn.Linear(width, experts * out)

    def forward(self, pooled_BD: Tensor, family_B: Tensor) -> Tensor:
        expert_BKE = self.project(pooled_BD).unflatten(1, (self.experts, self.out))
        weight_B1K = self.routing(pooled_BD).unsqueeze(1)
        emb_BE: Tensor = (weight_B1K @ expert_BKE).squeeze(1)
        return emb_BE

    def routing(self, pooled_BD: Tensor) -> Tensor:
        """The weight of each expert, routing_BK: rows sum to 1."""
        scores_BK: Tensor = self.gate(pooled_BD) / self.width**0.5
        return scores_BK.softmax(1)

    def penalty(self, routing_BK: Tensor) -> Tensor:
        mean_K = routing_BK.mean(0)
        # As squares of differences, since K sum P² - 1 may round below zero.
        return self.balance * self.experts * (mean_K - 1 / self.experts).square().sum()


@torch.no_grad()
def start_around_identity(head: MoeHead, init: Init) -> None:
    """Set initial weights of the experts whose mean keeps the base's space.

    Each is that mean plus torch's default weights, less the experts' mean of these: what they
    differ by cancels for as long as the gate gives all the same weight. With ``random``, nothing
    is set.
    """
    if init == "random":
        return
    mean = nn.Linear(head.width, head.out)
    start_linear(mean, init)
    weight_KED = head.project.weight.view(head.experts, head.out, head.width)
    bias_KE = head.project.bias.view(head.experts, head.out)
    weight_KED += mean.weight - weight_KED.mean(0)
    bias_KE += mean.bias - bias_KE.mean(0)
