"""A mean in which some languages count for more."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from components.context import Context
from components.errors import SettingError
from search.scoring.interface import Objective


class Weighted(Objective):
    """A mean in which some languages count for more.

    Attributes:
        weights: language -> weight; 1 for one that is not named. A language with 0 does not count.
    """

    kind: Literal["weighted"] = "weighted"
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(min_length=1)

    def incompatibility(self, context: Context) -> SettingError | None:
        unknown = sorted(set(self.weights) - set(context.languages))
        scored = ", ".join(context.languages)
        if unknown:
            return SettingError(
                "search.objective.weights",
                f"names {unknown[0]!r}",
                f"name only languages that are scored: {scored}",
            )
        if not any(self.weights.get(name, 1.0) for name in context.languages):
            return SettingError(
                "search.objective.weights",
                "is 0 for every language",
                f"be more than 0 for one of {scored}",
            )
        return None

    def combine(self, merits: Mapping[str, float], families: Mapping[str, str]) -> float:
        weights = {name: self.weights.get(name, 1.0) for name in merits}
        total = math.fsum(weights.values())
        return math.fsum(weights[name] * merits[name] for name in merits if weights[name]) / total
