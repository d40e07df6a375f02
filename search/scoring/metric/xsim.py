"""LASER's error rate of margin-based retrieval."""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from search.scoring.interface import Comparison, Metric


class Xsim(Metric):
    """Share of the language's sentences whose best candidate in the pivot is wrong; less is better.

    The k most similar candidates of x are scored by a margin between ``a = cos(x, y)`` and
    ``b = (mean_k(x) + mean_k(y)) / 2``, where ``mean_k`` is the mean similarity to the k nearest
    in the other language: ``ratio`` is a / b, ``distance`` a - b, and ``absolute`` a.

    Source: Heffernan, Çelebi and Schwenk, 2022, Bitext Mining Using Distilled Sentence
    Representations for Low-Resource Languages, section 4.1; Artetxe and Schwenk, 2019,
    Margin-based Parallel Corpus Mining with Multilingual Sentence Embeddings, section 3.1.

    Attributes:
        margin: how a similarity is compared with the mean of its neighbourhood: their ratio, their
            difference, or not at all.
        neighbours: k, the size of a neighbourhood.
    """

    higher_is_better: ClassVar[bool] = False
    kind: Literal["xsim"] = "xsim"
    margin: Literal["ratio", "distance", "absolute"] = "ratio"
    neighbours: int = Field(default=4, ge=1)

    def measure(self, pair: Comparison) -> float:
        similarity_QK, index_QK = pair.there.neighbours(self.neighbours)
        back_QK, _ = pair.back.neighbours(self.neighbours)
        around_QK = (similarity_QK.mean(1, keepdim=True) + back_QK.mean(1)[index_QK]) / 2
        best_Q1 = self._margin(similarity_QK, around_QK).argmax(1, keepdim=True)
        is_right_Q = pair.there.is_right(index_QK.gather(1, best_Q1).squeeze(1))
        return 1 - float(is_right_Q.double().mean())

    def _margin(self, similarity: Tensor, around: Tensor) -> Tensor:
        margins = {
            "ratio": lambda: similarity / around,
            "distance": lambda: similarity - around,
            "absolute": lambda: similarity,
        }
        return margins[self.margin]()
