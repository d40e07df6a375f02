"""Which negatives a pair has beside those of its batch: ``negatives``. A file a kind."""

from typing import TYPE_CHECKING

from components.config import union_of
from search.settings.interface import NegativesConfig

if TYPE_CHECKING:
    AnyNegatives = NegativesConfig
else:
    AnyNegatives = union_of(__name__, NegativesConfig)
