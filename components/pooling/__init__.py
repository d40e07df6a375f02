"""Token states -> one vector a sentence. A file a variant."""

from typing import TYPE_CHECKING

from components.interface import PoolingConfig, union_of

if TYPE_CHECKING:
    AnyPooling = PoolingConfig
else:
    AnyPooling = union_of(__name__, PoolingConfig)
