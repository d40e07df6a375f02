"""Hubness."""

from typing import ClassVar, Literal

import torch
from pydantic import Field

from search.scoring.interface import Comparison, Metric
from search.scoring.neighbours import Direction


class Hubness(Metric):
    """Skewness of how often a candidate is among the k nearest, mean of both directions.

    0 where all are met equally often; large where a few are near to everything. Less is better.

    Source: Radovanović, Nanopoulos and Ivanović, 2010, Hubs in Space, section 2.

    Attributes:
        neighbours: k.
    """

    higher_is_better: ClassVar[bool] = False
    kind: Literal["hubness"] = "hubness"
    neighbours: int = Field(default=10, ge=1)

    def measure(self, pair: Comparison) -> float:
        return sum(map(self._skewness, pair.directions)) / 2

    def _skewness(self, one: Direction) -> float:
        _, index_QK = one.neighbours(self.neighbours)
        count_C = torch.bincount(index_QK.flatten().cpu(), minlength=len(one.candidate_CE)).double()
        off_C = count_C - count_C.mean()
        spread = off_C.square().mean().sqrt()
        return float(off_C.pow(3).mean() / spread**3) if spread > 0 else 0.0
