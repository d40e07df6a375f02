"""The learning rate stays at its peak."""

from typing import Literal

from search.settings.interface import ScheduleConfig


class Constant(ScheduleConfig):
    """No decay."""

    kind: Literal["constant"] = "constant"

    def factor(self, left: float) -> float:
        return 1.0
