"""Similarities of sentences in two languages, a block at a time.

Letters: Q queries, C candidates, B queries of a block, E width of an embedding, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Similarities that are held at a time: 64 MiB in float32, however many sentences there are.
BLOCK_SIMILARITIES = 2**24
MOST_QUERIES = 1024  # of a block

IsSame = Callable[[slice], NDArray[np.bool_]]


def blocks(query_QE: Tensor, candidate_CE: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Compute similarities in blocks of bounded size.

    Yields:
        Some of the queries, and their similarity_BC to all candidates.
    """
    size = max(1, min(MOST_QUERIES, BLOCK_SIMILARITIES // max(1, len(candidate_CE))))
    for start in range(0, len(query_QE), size):
        part = slice(start, min(start + size, len(query_QE)))
        yield part, query_QE[part] @ candidate_CE.T


class Direction:
    """Retrieval of sentences of one language by those of another.

    Nothing is computed before it is asked for, and nothing twice.

    Args:
        query_QE, candidate_CE: unit vectors; query i and candidate i are a pair, so that Q = C.
        is_same: some of the queries -> bool (B, C), which candidates are right for which. The pair
            itself always is.
    """

    def __init__(self, query_QE: Tensor, candidate_CE: Tensor, is_same: IsSame) -> None:
        self.query_QE = query_QE
        self.candidate_CE = candidate_CE
        self._is_same = is_same
        self._top: tuple[Tensor, Tensor] | None = None

    @cached_property
    def nearest_Q(self) -> Tensor:
        """Index of the most similar candidate of each query."""
        found = [part_BC.argmax(1) for _, part_BC in blocks(self.query_QE, self.candidate_CE)]
        return torch.cat(found)

    @cached_property
    def is_right_Q(self) -> Tensor:
        """Whether the most similar candidate is right for its query."""
        return self.is_right(self.nearest_Q)

    def is_right(self, chosen_Q: Tensor) -> Tensor:
        """Whether one chosen candidate of each query is right for it; bool (Q,), on the CPU."""
        chosen = chosen_Q.cpu().numpy()
        found = np.zeros(len(chosen), dtype=np.bool_)
        wrong = np.flatnonzero(chosen != np.arange(len(chosen)))
        found[chosen == np.arange(len(chosen))] = True
        size = max(1, min(MOST_QUERIES, BLOCK_SIMILARITIES // max(1, len(chosen))))
        # A query that found its own pair needs no look at the other candidates.
        for block in np.unique(wrong // size):
            part = slice(int(block) * size, min((int(block) + 1) * size, len(chosen)))
            same_BC = self._is_same(part)
            found[part] = same_BC[np.arange(len(same_BC)), chosen[part]]
        return torch.from_numpy(found)

    @cached_property
    def rank_Q(self) -> Tensor:
        """Rank, from 1, of the most similar right candidate of each query."""
        ranks = []
        for part, similarity_BC in blocks(self.query_QE, self.candidate_CE):
            same_BC = torch.from_numpy(self._is_same(part)).to(similarity_BC.device)
            best_B1 = similarity_BC.masked_fill(~same_BC, -torch.inf).amax(1, keepdim=True)
            ranks.append(1 + (similarity_BC > best_B1).sum(1))
        return torch.cat(ranks)

    def neighbours(self, count: int) -> tuple[Tensor, Tensor]:
        """The most similar candidates of each query, most similar first.

        Args:
            count: K of them, or all where there are fewer.

        Returns:
            similarity_QK and index_QK.
        """
        count = min(count, len(self.candidate_CE))
        if self._top is None or self._top[0].shape[1] < count:
            found = [
                similarity_BC.topk(count, dim=1)
                for _, similarity_BC in blocks(self.query_QE, self.candidate_CE)
            ]
            self._top = (
                torch.cat([values for values, _ in found]),
                torch.cat([index for _, index in found]),
            )
        return self._top[0][:, :count], self._top[1][:, :count]
