"""The learning rate falls to zero along half a cosine."""

import math
from typing import Literal

from search.settings.interface import ScheduleConfig


class Cosine(ScheduleConfig):
    """Without restarts (Loshchilov and Hutter, 2017, SGDR, equation 5)."""

    kind: Literal["cosine"] = "cosine"

    def factor(self, left: float) -> float:
        return (1 - math.cos(math.pi * left)) / 2
