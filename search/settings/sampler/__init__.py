"""How configs are drawn: ``search.sampler``. A file a kind."""

from typing import TYPE_CHECKING

from components.config import union_of
from search.settings.interface import SamplerConfig

if TYPE_CHECKING:
    AnySampler = SamplerConfig
else:
    AnySampler = union_of(__name__, SamplerConfig, default="tpe")
