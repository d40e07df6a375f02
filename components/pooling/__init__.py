"""Token states -> one vector a sentence. A file a variant."""

from typing import TYPE_CHECKING

from components.config import union_of
from components.interface import PoolingConfig

if TYPE_CHECKING:
    AnyPooling = PoolingConfig
else:
    AnyPooling = union_of(__name__, PoolingConfig)
