"""What a model must keep to be chosen, however good it is otherwise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from components.config import Config
from components.context import Context
from components.errors import SettingError


class Constraints(Config):
    """Conditions that the best model must keep, and that the sampler learns to keep.

    Attributes:
        floors: language -> how far its accuracy must be above that of the reference trial; below 0,
            how much it may lose: ``{zh: -0.01}``.
        no_language_below: ``reference`` is a floor of 0 for each language that ``floors`` does not
            name; null for none.
        max_parameters: the most trainable parameters; of the trials, only the reference, which is
            what others are compared with, may have more.
    """

    floors: dict[str, Annotated[float, Field(ge=-1, le=1)]] = Field(default_factory=dict)
    no_language_below: Literal["reference"] | None = None
    max_parameters: Annotated[int, Field(ge=1)] | None = None

    @property
    def are_none(self) -> bool:
        """Whether every model keeps them."""
        return not self.floors and self.no_language_below is None and self.max_parameters is None

    def incompatibility(self, context: Context) -> SettingError | None:
        unknown = sorted(set(self.floors) - set(context.languages))
        if not unknown:
            return None
        return SettingError(
            "search.floors",
            f"names {unknown[0]!r}",
            f"name only languages that are scored: {', '.join(context.languages)}",
        )

    def violations(
        self,
        by_language: Mapping[str, float],
        reference: Mapping[str, float] | None,
        parameters: int | None,
    ) -> dict[str, float]:
        """Measure how far a model is from keeping each condition: above 0, it does not keep it.

        Args:
            by_language: its accuracy.
            reference: accuracy of the reference; None leaves the floors out.
            parameters: that it trains; None leaves that condition out.

        Returns:
            ``floors.<language>``, in accuracy, and ``max_parameters``, as a share of these.
        """
        found = {}
        for language, accuracy in by_language.items() if reference is not None else ():
            floor = self._floor(language)
            if floor is not None and reference is not None and language in reference:
                found[f"floors.{language}"] = reference[language] + floor - accuracy
        return found | self.size_violation(parameters)

    def size_violation(self, parameters: int | None) -> dict[str, float]:
        """The part of `violations` that is known before a model is trained."""
        if self.max_parameters is None or parameters is None:
            return {}
        return {"max_parameters": parameters / self.max_parameters - 1}

    def _floor(self, language: str) -> float | None:
        every = None if self.no_language_below is None else 0.0
        return self.floors.get(language, every)


# Accuracies are shares of few sentences: what differs by rounding only is no violation.
ROUNDING = 1e-9


def total(violations: Mapping[str, float]) -> float:
    """How far a model is from keeping all conditions; 0 where it does."""
    return math.fsum(v for v in violations.values() if v > ROUNDING)


def preference(
    violations: Mapping[str, float], value: float, parameters: int | None, trial: int
) -> tuple[float, float, int, int]:
    """Make the key that sorts models, best first.

    By how far they are from keeping the conditions, then by what is maximised; of equal ones the
    smaller goes before the larger, and the earlier before the later.
    """
    return total(violations), -value, parameters or 0, trial


def describe(violations: Mapping[str, float]) -> Sequence[str]:
    """The conditions that a model does not keep, a few words each."""
    found = []
    for name, amount in violations.items():
        if amount > ROUNDING:
            section, _, language = name.partition(".")
            found.append(
                f"{language} is {amount:.3f} below its floor"
                if section == "floors"
                else f"it trains {amount:.0%} more parameters than allowed"
            )
    return found
