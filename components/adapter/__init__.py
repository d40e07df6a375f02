"""What trains inside the base: weights added to it, or its own. A file a variant."""

from typing import TYPE_CHECKING

from components.config import union_of
from components.interface import AdapterConfig

if TYPE_CHECKING:
    AnyAdapter = AdapterConfig
else:
    AnyAdapter = union_of(__name__, AdapterConfig)
