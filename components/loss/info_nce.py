"""InfoNCE loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from components.embedded import Embedded
from components.interface import Loss, LossConfig


class InfoNce(LossConfig):
    """Tell each sentence's translation from the others of the batch."""

    kind: Literal["info_nce"] = "info_nce"
    temperature: float = Field(
        default=0.05, gt=0, le=10, description="similarities are divided by it"
    )
    learned: bool = Field(default=False, description="learn the temperature from that start")
    symmetric: bool = Field(default=True, description="also from translation to sentence")

    @property
    def may_train(self) -> bool:
        return self.learned

    def build(self, width: int, teachers: Mapping[str, int] | None = None) -> Loss:
        return InfoNceLoss(self.temperature, self.learned, self.symmetric)


class InfoNceLoss(Loss):
    """Tell each sentence's translation from the others of the batch.

    With ``s_ij = a_i . p_j / tau``, the loss is ``mean_i(-log softmax_j(s_ij)[i])``, and, where
    symmetric, the mean of that and of the same over columns. A learned temperature is a parameter
    ``log tau``; its value is kept at or above 0.01 as in CLIP.

    Mined negatives are further candidates of every sentence; they have no direction back.

    Sources: van den Oord et al., 2018, CPC, equation 4; Radford et al., 2021, CLIP, section 2.3
    (both directions, learned temperature).

    Departure: other candidates that are right (the same text as the translation, or another
    recorded translation of the anchor) are left out of the denominator.
    """

    LOWEST = 0.01

    def __init__(self, temperature: float, learned: bool, symmetric: bool) -> None:
        super().__init__()
        self.symmetric = symmetric
        self.learned = learned
        log_temperature = torch.tensor(math.log(temperature))
        if learned:
            self.log_temperature = nn.Parameter(log_temperature)
        else:
            self.register_buffer("log_temperature", log_temperature, persistent=False)

    @property
    def temperature(self) -> Tensor:
        """The temperature in force, a scalar."""
        value = self.log_temperature.exp()
        return value.clamp(min=self.LOWEST) if self.learned else value

    def forward(self, batch: Embedded) -> Tensor:
        if self.learned:
            # The parameter itself, as CLIP does: below the floor it would never get a gradient
            # again.
            self.log_temperature.data.clamp_(min=math.log(self.LOWEST))
        forward = self._one_way(batch, batch.similarity_RC, batch.is_same_RC)
        if not self.symmetric:
            return forward
        return (forward + self._one_way(batch, batch.back_RB, batch.is_same_back_RB)) / 2

    def _one_way(self, batch: Embedded, similarity_RC: Tensor, is_right_RC: Tensor) -> Tensor:
        logits_RC = similarity_RC / self.temperature
        logits_RC = logits_RC.masked_fill(batch.besides_own(is_right_RC), -math.inf)
        return F.cross_entropy(logits_RC, batch.place_R)
