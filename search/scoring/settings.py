"""What a search maximises: a metric, and how the languages' values become one number."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from components.config import Config
from search.scoring.metric import AnyMetric
from search.scoring.objective import AnyObjective


class Scoring(Config):
    """What is maximised.

    Attributes:
        metric: of each language against the pivot.
        objective: makes one number of them.
    """

    metric: AnyMetric = Field(default={"kind": "accuracy"}, validate_default=True)
    objective: AnyObjective = Field(default={"kind": "mean"}, validate_default=True)

    @property
    def is_accuracy(self) -> bool:
        """Whether the metric is accuracy, which is scored in any case."""
        return self.metric.kind == "accuracy"

    @property
    def is_mean_accuracy(self) -> bool:
        """Whether it is the mean of accuracy over the languages."""
        return self.is_accuracy and self.objective.kind == "mean"

    def value(self, by_language: Mapping[str, float], families: Mapping[str, str]) -> float:
        """The number to maximise.

        Args:
            by_language: language -> metric.
            families: language -> name of its family.
        """
        merits = {name: self.metric.merit(value) for name, value in by_language.items()}
        return self.objective.combine(merits, families)
