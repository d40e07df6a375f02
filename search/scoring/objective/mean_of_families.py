"""The mean over families of the mean over their languages: a family of many counts as one."""

from collections.abc import Mapping
from typing import Literal

from search.scoring.interface import Objective, by_family, mean


class MeanOfFamilies(Objective):
    """The mean over families of the mean over their languages: a family of many counts as one."""

    kind: Literal["mean_of_families"] = "mean_of_families"

    def combine(self, merits: Mapping[str, float], families: Mapping[str, str]) -> float:
        return mean(by_family(merits, families))
