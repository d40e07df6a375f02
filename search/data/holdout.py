"""Which rows are held out for validation: groups of rows that share no sentence with the others."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from search.data.comparison import Ints

MOST_ROWS = 2000  # held out, unless more are asked for
# A group is cut only where whole ones give less than this share of the rows asked for.
ENOUGH = 0.5


@dataclass(frozen=True)
class Holdout:
    """A division of R rows.

    Attributes:
        held: bool (R,): rows to validate with.
        lost: bool (R,): rows that share a sentence with these, so that they can be in neither part.
        largest: rows of the largest group.
    """

    held: NDArray[np.bool_]
    lost: NDArray[np.bool_]
    largest: int


def hold_out(text_LR: Ints, target: int, rng: np.random.Generator) -> Holdout:
    """Draw rows to validate with, so that the others share no sentence with them.

    Rows that share a sentence, directly or through further rows, form a group, and a group is drawn
    as a whole: no row is lost. Among groups of the same languages the order is random; each kind
    gives its share, so that a rare language has sentences to validate with.

    Where the groups that fit give too few rows (one group may be nearly the whole data: each row
    shares a sentence with the next), the largest group is cut. The rows held out of it grow from
    one with few neighbours along shared sentences, those with fewest neighbours first. What then
    borders on them is lost; along a chain, that is a row at each end.

    Args:
        text_LR: numbers of texts, -1 where missing.
        target: rows to hold out at most, 1 at least.
    """
    rows = text_LR.shape[1]
    held = np.zeros(rows, dtype=np.bool_)
    if not rows:
        return Holdout(held, held.copy(), 0)
    group_R = _groups(text_LR)
    sizes = np.bincount(group_R)
    _, first = np.unique(group_R, return_index=True)
    total = 0
    chosen = []
    for group in _order(text_LR[:, first] >= 0, rng).tolist():
        if total + sizes[group] <= target and sizes[group] < rows:
            chosen.append(group)
            total += int(sizes[group])
            if total == target:
                break
    held = np.isin(group_R, chosen)
    if total < ENOUGH * target:
        left = np.flatnonzero(
            group_R == np.argmax(np.where(np.isin(np.arange(len(sizes)), chosen), 0, sizes))
        )
        held[left[_cut(text_LR[:, left], min(target - total, len(left) - 1), rng)]] = True
    return Holdout(held, _shares(text_LR, held) & ~held, int(sizes.max()))


def shares_text(text_LR: Ints, others_LS: Ints) -> NDArray[np.bool_]:
    """Which of R rows share a sentence of any language with one of S others, (R,)."""
    shared = np.zeros(text_LR.shape[1], dtype=np.bool_)
    for text_R, others_S in zip(text_LR, others_LS, strict=True):
        shared |= np.isin(text_R, others_S[others_S >= 0])
    return shared


def _shares(text_LR: Ints, chosen_R: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return shares_text(text_LR, text_LR[:, chosen_R])


def _groups(text_LR: Ints) -> Ints:
    """Number the groups of rows that share sentences, directly or through further rows, (R,)."""
    rows = text_LR.shape[1]
    language, row = np.nonzero(text_LR >= 0)
    # Rows and texts are the nodes of one graph, and every sentence is an edge.
    _, text = np.unique(text_LR[language, row], return_inverse=True)
    nodes = rows + int(text.max(initial=-1)) + 1
    edges = coo_array((np.ones(len(row), np.int8), (row, rows + text)), shape=(nodes, nodes))
    label = connected_components(edges, directed=False)[1][:rows]
    return np.unique(label, return_inverse=True)[1].astype(np.int64)


def _order(present_LG: NDArray[np.bool_], rng: np.random.Generator) -> Ints:
    """A random order of G groups in which each set of languages comes in even steps."""
    groups = present_LG.shape[1]
    _, kind = np.unique(present_LG, axis=1, return_inverse=True)
    order = rng.permutation(groups)
    by_kind = order[np.argsort(kind[order], kind="stable")]
    counts = np.bincount(kind)
    starts = np.cumsum(counts) - counts
    step = (np.arange(groups) - np.repeat(starts, counts)) / np.repeat(counts, counts)
    # Steps of the same size, as the first of each kind, stay in random order.
    shuffled = rng.permutation(groups)
    return by_kind[shuffled[np.argsort(step[shuffled], kind="stable")]]


def _cut(text_LR: Ints, count: int, rng: np.random.Generator) -> list[int]:
    """Choose rows of one group that border on few others."""
    rows = text_LR.shape[1]
    rows_of: dict[int, list[int]] = {}
    for language, row in zip(*(side.tolist() for side in np.nonzero(text_LR >= 0)), strict=True):
        rows_of.setdefault(int(text_LR[language, row]), []).append(row)
    neighbours = [
        sum(len(rows_of[text]) - 1 for text in column if text >= 0) for column in text_LR.T.tolist()
    ]
    tie = rng.permutation(rows).tolist()
    first = min(range(rows), key=lambda row: (neighbours[row], tie[row]))
    border = [(neighbours[first], tie[first], first)]
    met: set[int] = {first}
    chosen: list[int] = []
    while border and len(chosen) < count:
        _, _, row = heapq.heappop(border)
        chosen.append(row)
        for text in text_LR[:, row].tolist():
            for other in rows_of.pop(text, []):
                if other not in met:
                    met.add(other)
                    heapq.heappush(border, (neighbours[other], tie[other], other))
    return chosen
