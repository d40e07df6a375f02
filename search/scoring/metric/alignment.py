"""Alignment of pairs on the unit sphere."""

from typing import ClassVar, Literal

from search.scoring.interface import Comparison, Metric


class Alignment(Metric):
    """Mean squared distance of a sentence and its translation, 0 to 4; less is better.

    Source: Wang and Isola, 2020, Understanding Contrastive Representation Learning through
    Alignment and Uniformity on the Hypersphere, section 4.1, with alpha = 2.
    """

    higher_is_better: ClassVar[bool] = False
    kind: Literal["alignment"] = "alignment"

    def measure(self, pair: Comparison) -> float:
        off_QE = pair.there.query_QE - pair.there.candidate_CE
        return float(off_QE.square().sum(1).double().mean())
