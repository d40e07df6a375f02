"""The family that does worst, by the mean over its languages."""

from collections.abc import Mapping
from typing import Literal

from search.scoring.interface import Objective, by_family


class WorstFamily(Objective):
    """The family that does worst, by the mean over its languages."""

    kind: Literal["worst_family"] = "worst_family"

    def combine(self, merits: Mapping[str, float], families: Mapping[str, str]) -> float:
        return min(by_family(merits, families).values())
