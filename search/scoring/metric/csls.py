"""Retrieval accuracy by cross-domain similarity local scaling."""

from typing import Literal

import torch
from pydantic import Field

from search.scoring.interface import Comparison, Metric
from search.scoring.neighbours import Direction, blocks


class Csls(Metric):
    """Share of the sentences whose best candidate by CSLS is right, mean of both directions.

    ``CSLS(x, y) = 2 cos(x, y) - r(x) - r(y)``, where r is the mean similarity to the k nearest in
    the other language: a candidate that is near to everything is held back.

    Source: Conneau et al., 2018, Word Translation Without Parallel Data, section 2.3.

    Attributes:
        neighbours: k.
    """

    kind: Literal["csls"] = "csls"
    neighbours: int = Field(default=10, ge=1)

    def measure(self, pair: Comparison) -> float:
        ways = ((pair.there, pair.back), (pair.back, pair.there))
        return sum(self._accuracy(one, other) for one, other in ways) / 2

    def _accuracy(self, one: Direction, other: Direction) -> float:
        around_C = other.neighbours(self.neighbours)[0].mean(1)
        best_Q = torch.cat(
            [  # r(x) is the same for all candidates of x
                (2 * similarity_BC - around_C).argmax(1)
                for _, similarity_BC in blocks(one.query_QE, one.candidate_CE)
            ]
        )
        return float(one.is_right(best_Q).double().mean())
