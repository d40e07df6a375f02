"""A space file as a whole, when every domain has been given one of its values."""

from __future__ import annotations

from search.data.settings import DataSettings
from search.settings.sections import CacheSettings, LaneSettings, SearchSettings
from search.settings.trial import TrialConfig


class RunConfig(TrialConfig):
    """A space file in which every domain has been given one of its values."""

    search: SearchSettings = SearchSettings()
    lane: LaneSettings = LaneSettings()
    cache: CacheSettings = CacheSettings()
    data: DataSettings


# Sections that hold for a whole search: one value each, never a domain.
FIXED_SECTIONS = ("search", "lane", "data", "base", "cache")
