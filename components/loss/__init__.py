"""Embeddings of translations -> a scalar. A file a variant."""

from typing import TYPE_CHECKING

from components.config import union_of
from components.interface import LossConfig

if TYPE_CHECKING:
    AnyLoss = LossConfig
else:
    AnyLoss = union_of(__name__, LossConfig)
