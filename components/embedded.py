"""The embeddings of a batch, as losses take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Embedded:
    """What a loss sees of a batch.

    A loss is a mean over pairs. Of a batch that several workers share, each computes the terms of R
    pairs of its own, held against the sentences of all B; of any other batch, R = B.

    Attributes:
        anchor_BE: unit vectors.
        positive_BE: unit vectors; row i translates row i of the anchors.
        is_same: bool (2R, 2B + N): whether an own anchor or, below these, an own positive is the
            same as an anchor, a positive or a mined negative, in this order. Two sentences are the
            same if they are the same text in one language, or are recorded as translations of each
            other. That is symmetric, but not transitive: a and b may both be translations of c
            without being the same.
        negative_NE: unit vectors of mined negatives, N a multiple of B: the first N / B are those
            of the first pair, and so on; None where none are mined.
        teachers: name of a teacher -> its embeddings teacher_BW of the pairs' pivot sentences.
        own: which R of the B pairs the loss is the mean of.
    """

    anchor_BE: Tensor
    positive_BE: Tensor
    is_same: Tensor
    negative_NE: Tensor | None = None
    teachers: Mapping[str, Tensor] = field(default_factory=dict)
    own: slice = field(default_factory=lambda: slice(None))

    @property
    def anchor_RE(self) -> Tensor:
        """Anchors of the own pairs."""
        return self.anchor_BE[self.own]

    @property
    def positive_RE(self) -> Tensor:
        """Positives of the own pairs."""
        return self.positive_BE[self.own]

    @cached_property
    def place_R(self) -> Tensor:
        """Where each own pair stands in the batch, int64: its column in what follows."""
        return torch.arange(len(self.anchor_BE), device=self.anchor_BE.device)[self.own]

    @cached_property
    def candidate_CE(self) -> Tensor:
        """What each anchor is compared with: the batch's translations, then the mined negatives."""
        if self.negative_NE is None:
            return self.positive_BE
        return torch.cat([self.positive_BE, self.negative_NE])

    @cached_property
    def similarity_RC(self) -> Tensor:
        """Cosines of the own anchors and all candidates."""
        return self.anchor_RE @ self.candidate_CE.T

    @cached_property
    def back_RB(self) -> Tensor:
        """Cosines of the own positives and all anchors."""
        size = len(self.anchor_BE)
        if len(self.place_R) == size:  # they are known
            return self.similarity_RC[:, :size].T
        return self.positive_RE @ self.anchor_BE.T

    @property
    def is_same_RC(self) -> Tensor:
        """Which candidates are right for which own anchor: its translation and others recorded."""
        return self._part(0, len(self.anchor_BE), None)

    @property
    def is_same_back_RB(self) -> Tensor:
        """Which anchors are right for which own positive."""
        return self._part(1, 0, len(self.anchor_BE))

    @property
    def is_same_anchor_RB(self) -> Tensor:
        """Which anchors are the same as which own anchor."""
        return self._part(0, 0, len(self.anchor_BE))

    @property
    def is_same_positive_RC(self) -> Tensor:
        """Which candidates are the same as which own positive."""
        return self._part(1, len(self.anchor_BE), None)

    def both_ways(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Cosines (R, B) and which are of right pairs: own anchors with all positives, and back."""
        size = len(self.anchor_BE)
        return (
            (self.similarity_RC[:, :size], self.is_same_RC[:, :size]),
            (self.back_RB, self.is_same_back_RB),
        )

    def besides_own(self, is_right_RC: Tensor) -> Tensor:
        """Which candidates are right for an own pair beside its own other side."""
        return is_right_RC.scatter(1, self.place_R.unsqueeze(1), False)

    def taught_RB(self, teacher: str) -> Tensor:
        """Cosines of own and all pairs, by a teacher's embeddings of their pivot sentences."""
        unit_BW = F.normalize(self.teachers[teacher].to(self.anchor_BE), dim=-1)
        return unit_BW[self.own] @ unit_BW.T

    def _part(self, side: int, first: int, end: int | None) -> Tensor:
        size = len(self.is_same) // 2
        return self.is_same[side * size : (side + 1) * size, first:end]
