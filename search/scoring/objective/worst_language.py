"""The language that does worst."""

from collections.abc import Mapping
from typing import Literal

from search.scoring.interface import Objective


class WorstLanguage(Objective):
    """The language that does worst."""

    kind: Literal["worst_language"] = "worst_language"

    def combine(self, merits: Mapping[str, float], families: Mapping[str, str]) -> float:
        return min(merits.values())
