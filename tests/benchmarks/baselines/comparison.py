"""Which sentences a model finds, and whether it finds more of them than another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

# Language -> (N, 2): for each row, whether its translation is found from the language and back.
Found = dict[str, NDArray[np.bool_]]


def find(model: SentenceTransformer, texts: Mapping[str, Sequence[str]], pivot: str) -> Found:
    """Look for each sentence's translation among all sentences of the other language.

    Right is the text of the translation, in whichever row it stands.
    """
    routed = any(type(module).__name__ == "RoutedTransformer" for module in model)
    vectors = {
        name: model.encode(
            list(column),
            normalize_embeddings=True,
            show_progress_bar=False,
            **({"task": name} if routed else {}),
        )
        for name, column in texts.items()
    }

    def right(query: str, candidate: str) -> NDArray[np.bool_]:
        nearest = (vectors[query] @ vectors[candidate].T).argmax(1)
        there = np.array(texts[candidate], dtype=object)
        return np.array(there[nearest] == there, dtype=np.bool_)

    return {
        name: np.stack([right(name, pivot), right(pivot, name)], axis=1)
        for name in texts
        if name != pivot
    }


def accuracies(found: Found) -> dict[str, float]:
    """Accuracy of each language, the mean of both directions."""
    return {name: float(hits.mean()) for name, hits in found.items()}


def accuracy(found: Found) -> float:
    """Mean over the languages."""
    return float(np.mean(list(accuracies(found).values())))


@dataclass(frozen=True)
class Difference:
    """How much more accurate one model is than another.

    Attributes:
        mean: on the sentences that there are.
        low, high: bounds of the 95 % interval.
    """

    mean: float
    low: float
    high: float


def compare(one: Found, other: Found, resamples: int = 10_000, seed: int = 0) -> Difference:
    """Compare two models by a paired bootstrap over the rows within each language.

    A row takes both directions and both models with it.

    Source: Koehn, 2004, Statistical Significance Tests for Machine Translation Evaluation, section
    3 (paired bootstrap resampling), here with the percentiles of the difference.
    """
    random = np.random.default_rng(seed)
    drawn = np.zeros(resamples)
    for name, hits in one.items():
        gain_N = hits.mean(1) - other[name].mean(1)
        # How often each row is drawn, instead of which rows: the same, in less memory.
        times_RN = random.multinomial(
            len(gain_N), np.full(len(gain_N), 1 / len(gain_N)), size=resamples
        )
        drawn += times_RN @ gain_N / len(gain_N)
    low, high = np.percentile(drawn / len(one), [2.5, 97.5])
    return Difference(accuracy(one) - accuracy(other), float(low), float(high))
