"""Pooled vector -> embedding. A file a variant."""

from typing import TYPE_CHECKING

from components.interface import HeadConfig, union_of

if TYPE_CHECKING:
    AnyHead = HeadConfig
else:
    AnyHead = union_of(__name__, HeadConfig)
