"""What a metric and an objective must be; each is one file in its family's folder."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from components.config import Config
from search.scoring.neighbours import Direction


@dataclass(frozen=True)
class Comparison:
    """Sentences of a language and their translations in the pivot.

    Attributes:
        there: the pivot's sentences are found by those of the language.
        back: the language's sentences are found by those of the pivot.
    """

    there: Direction
    back: Direction

    @property
    def directions(self) -> tuple[Direction, Direction]:
        """Both of them."""
        return self.there, self.back

    @property
    def is_finite(self) -> bool:
        """Whether every embedding is finite."""
        # A sum over unit vectors is finite where all of them are, and takes a fifteenth of the
        # time.
        return math.isfinite(self.there.query_QE.sum() + self.there.candidate_CE.sum())


class Metric(Config, ABC):
    """How well sentences of two languages are aligned, as a number.

    Attributes:
        higher_is_better: what is better of two values.
    """

    higher_is_better: ClassVar[bool] = True
    kind: str

    @abstractmethod
    def measure(self, pair: Comparison) -> float:
        """Score the embeddings of one language and the pivot, all of them finite."""

    def merit(self, value: float) -> float:
        """A value with its sign turned where less is better, so that more always is."""
        return value if self.higher_is_better else -value


class Objective(Config, ABC):
    """How one number, which a search maximises, is made of the languages' merits."""

    kind: str

    @abstractmethod
    def combine(self, merits: Mapping[str, float], families: Mapping[str, str]) -> float:
        """Combine.

        Args:
            merits: language -> metric, with its sign turned where less is better.
            families: language -> name of its family.
        """


def mean(values: Mapping[str, float]) -> float:
    """Mean of a mapping's values."""
    return math.fsum(values.values()) / len(values)


def by_family(merits: Mapping[str, float], families: Mapping[str, str]) -> dict[str, float]:
    """Mean over the languages of each family."""
    found: dict[str, dict[str, float]] = {}
    for language, value in merits.items():
        found.setdefault(families[language], {})[language] = value
    return {family: mean(values) for family, values in found.items()}
