"""The embeddings of a batch, as losses take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Embedded:
    """What a loss sees of a batch.

    Attributes:
        anchor_BE: unit vectors.
        positive_BE: unit vectors; row i translates row i of the anchors.
        is_same: bool (2B, 2B + N) over the anchors, the positives and the mined negatives, in this
            order: whether two sentences are the same text in one language, or are recorded as
            translations of each other. Symmetric in its first 2B columns, but not transitive: a and
            b may both be translations of c without being the same.
        negative_NE: unit vectors of mined negatives, N a multiple of B: the first N / B are those
            of the first pair, and so on; None where none are mined.
        teachers: name of a teacher -> its embeddings teacher_BW of the pairs' pivot sentences.
    """

    anchor_BE: Tensor
    positive_BE: Tensor
    is_same: Tensor
    negative_NE: Tensor | None = None
    teachers: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def candidate_CE(self) -> Tensor:
        """What each anchor is compared with: the batch's translations, then the mined negatives."""
        if self.negative_NE is None:
            return self.positive_BE
        return torch.cat([self.positive_BE, self.negative_NE])

    @property
    def is_same_BC(self) -> Tensor:
        """Which candidates are right for which anchor: its own translation and others recorded.

        Of its first B columns, the transpose says which anchors are right for which positive.
        """
        size = len(self.anchor_BE)
        return self.is_same[:size, size:]

    @property
    def is_same_anchor_BB(self) -> Tensor:
        """Which anchors are the same as which anchor."""
        size = len(self.anchor_BE)
        return self.is_same[:size, :size]

    @property
    def is_same_positive_BC(self) -> Tensor:
        """Which candidates are the same as which positive."""
        size = len(self.anchor_BE)
        return self.is_same[size:, size:]
