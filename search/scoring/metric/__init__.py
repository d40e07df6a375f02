"""What is measured of a language against the pivot: ``search.metric``. A file a kind."""

from typing import TYPE_CHECKING

from components.config import union_of
from search.scoring.interface import Metric

if TYPE_CHECKING:
    AnyMetric = Metric
else:
    AnyMetric = union_of(__name__, Metric)
