"""Asynchronous successive halving."""

from itertools import count, takewhile
from typing import Literal

from search.settings.interface import SchedulerConfig


class Asha(SchedulerConfig):
    """ASHA (Li et al., 2020): at each rung, the best ``1 / reduction`` of the trials go on."""

    kind: Literal["asha"] = "asha"

    def rungs(self) -> list[int]:
        every = (self.grace_epochs * self.reduction**n for n in count())
        return list(takewhile(lambda epochs: epochs < self.max_epochs, every))
