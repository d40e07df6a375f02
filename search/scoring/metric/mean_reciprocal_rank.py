"""Mean reciprocal rank."""

from typing import Literal

from search.scoring.interface import Comparison, Metric


class MeanReciprocalRank(Metric):
    """Mean of ``1 / rank`` of the most similar translation, mean of both directions."""

    kind: Literal["mean_reciprocal_rank"] = "mean_reciprocal_rank"

    def measure(self, pair: Comparison) -> float:
        return sum(float(one.rank_Q.double().reciprocal().mean()) for one in pair.directions) / 2
