"""A loss, at several widths of the embedding at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from components.embedded import Embedded
from components.errors import SettingError
from components.interface import Loss

KEY = "training.matryoshka"


class Matryoshka(Loss):
    """Train the first dimensions of an embedding to be an embedding of their own.

    ``sum_d loss(unit(a[:d]), unit(p[:d]), ...)`` over the full width and each of the given ones;
    mined negatives are truncated too, a teacher's embeddings are not. The parameters of the loss,
    if it has any, are the same at all widths.

    Source: Kusupati et al., 2022, Matryoshka Representation Learning, equation 1, all weights 1.

    Args:
        loss: the loss at each width.
        width: dimensions E of the embedding.
        widths: some smaller ones.

    Raises:
        SettingError: a width is not between 1 and E - 1 or is given twice, or none is given.
    """

    def __init__(self, loss: Loss, width: int, widths: Sequence[int]) -> None:
        super().__init__()
        if not widths:
            raise SettingError(KEY, "is empty", f"name widths below the embedding's, {width}")
        fault = unfit_width(widths, width)
        if fault:
            raise fault
        self.loss = loss
        self.width = width
        self.widths = list(widths)

    def forward(self, batch: Embedded) -> Tensor:
        total: Tensor = self.loss(batch)
        for width in self.widths:
            total = total + self.loss(_truncated(batch, width))
        return total


def unfit_width(widths: Sequence[int], width: int) -> SettingError | None:
    """Find the first of the widths that cannot be trained within an embedding's, if any."""
    for index, shorter in enumerate(widths):
        if shorter < 1:
            return SettingError(KEY, f"names {shorter}", "name widths of at least 1")
        if shorter >= width:
            return SettingError(KEY, f"names {shorter}", f"be below the embedding's width, {width}")
        if shorter in widths[:index]:
            return SettingError(KEY, f"names {shorter} twice", "name each width once")
    return None


def _truncated(batch: Embedded, width: int) -> Embedded:
    """The batch with embeddings of the first ``width`` dimensions alone."""

    def cut(emb_BE: Tensor) -> Tensor:
        return F.normalize(emb_BE[:, :width], dim=-1)

    return replace(
        batch,
        anchor_BE=cut(batch.anchor_BE),
        positive_BE=cut(batch.positive_BE),
        negative_NE=None if batch.negative_NE is None else cut(batch.negative_NE),
    )
