"""Embeddings of translations -> a scalar. A file a variant."""

from typing import TYPE_CHECKING

from components.interface import LossConfig, union_of

if TYPE_CHECKING:
    AnyLoss = LossConfig
else:
    AnyLoss = union_of(__name__, LossConfig)
