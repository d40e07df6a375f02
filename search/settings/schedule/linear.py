"""The learning rate falls to zero in a straight line."""

from typing import Literal

from search.settings.interface import ScheduleConfig


class Linear(ScheduleConfig):
    """In proportion to the steps that are left."""

    kind: Literal["linear"] = "linear"

    def factor(self, left: float) -> float:
        return left
