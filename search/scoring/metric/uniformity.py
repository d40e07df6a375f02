"""Uniformity on the unit sphere."""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from search.scoring.interface import Comparison, Metric
from search.scoring.neighbours import blocks


class Uniformity(Metric):
    """Log of the mean of ``exp(-2 |x - y|^2)`` over a language's sentences; less is better.

    Over all pairs of two different sentences, -8 at the least; 0 where all vectors are equal, or
    there is one alone.

    Source: Wang and Isola, 2020, Understanding Contrastive Representation Learning through
    Alignment and Uniformity on the Hypersphere, section 4.1, with t = 2.
    """

    higher_is_better: ClassVar[bool] = False
    kind: Literal["uniformity"] = "uniformity"

    def measure(self, pair: Comparison) -> float:
        return _uniformity(pair.there.query_QE)


def _uniformity(emb_NE: Tensor) -> float:
    count = len(emb_NE)
    if count < 2:
        return 0.0
    total = torch.zeros((), dtype=torch.float64, device=emb_NE.device)
    for part, similarity_BN in blocks(emb_NE, emb_NE):
        # |x - y|^2 = 2 - 2 cos of unit vectors
        kernel_BN = torch.exp(4 * similarity_BN - 4)
        rows_B = torch.arange(part.start, part.stop, device=emb_NE.device)
        own_B = kernel_BN.gather(1, rows_B[:, None])
        total += kernel_BN.sum(dtype=torch.float64) - own_B.sum(dtype=torch.float64)
    return math.log(float(total) / (count * (count - 1)))
