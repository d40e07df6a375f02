"""Pooled vector -> embedding. A file a variant."""

from typing import TYPE_CHECKING

from components.config import union_of
from components.interface import HeadConfig

if TYPE_CHECKING:
    AnyHead = HeadConfig
else:
    AnyHead = union_of(__name__, HeadConfig)
