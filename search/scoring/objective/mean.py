"""The mean over the languages."""

from collections.abc import Mapping
from typing import Literal

from search.scoring.interface import Objective, mean


class Mean(Objective):
    """The mean over the languages."""

    kind: Literal["mean"] = "mean"

    def combine(self, merits: Mapping[str, float], families: Mapping[str, str]) -> float:
        return mean(merits)
