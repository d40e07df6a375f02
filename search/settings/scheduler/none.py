"""No trial is stopped."""

from typing import Literal

from search.settings.interface import SchedulerConfig


class NoScheduler(SchedulerConfig):
    """Every trial runs to its last epoch."""

    kind: Literal["none"] = "none"

    def rungs(self) -> list[int]:
        return []
