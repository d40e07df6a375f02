"""Top-1 retrieval accuracy."""

from typing import Literal

from search.scoring.interface import Comparison, Metric


class Accuracy(Metric):
    """Share of the sentences whose most similar one is a translation, mean of both directions."""

    kind: Literal["accuracy"] = "accuracy"

    def measure(self, pair: Comparison) -> float:
        return sum(float(one.is_right_Q.double().mean()) for one in pair.directions) / 2
