"""MTEB's F1 of bitext mining."""

from typing import Literal

import torch

from search.scoring.interface import Comparison, Metric
from search.scoring.neighbours import Direction


class F1(Metric):
    """F1 of bitext mining as MTEB computes it, mean of both directions.

    Each query's pair is a class, and the most similar candidate is the class predicted. A class i
    that is predicted for n_i queries has ``F1_i = 2 / (1 + n_i)`` where its own query is among
    them, otherwise 0; the mean over the classes is scikit-learn's weighted F1, since each has one
    query. A departure: any recorded translation counts as the query's own class.

    Source: Muennighoff et al., 2023, MTEB: Massive Text Embedding Benchmark, section 3.1.
    """

    kind: Literal["f1"] = "f1"

    def measure(self, pair: Comparison) -> float:
        return sum(map(weighted_f1, pair.directions)) / 2


def weighted_f1(one: Direction) -> float:
    """The F1 of one direction."""
    own_Q = torch.arange(len(one.query_QE))
    predicted_Q = torch.where(one.is_right_Q, own_Q, one.nearest_Q.cpu())
    count_Q = torch.bincount(predicted_Q, minlength=len(own_Q)).double()
    return float((one.is_right_Q * 2 / (1 + count_Q)).mean())
