"""When trials are stopped: ``search.scheduler``. A file a kind."""

from typing import TYPE_CHECKING

from components.config import union_of
from search.settings.interface import SchedulerConfig

if TYPE_CHECKING:
    AnyScheduler = SchedulerConfig
else:
    AnyScheduler = union_of(__name__, SchedulerConfig, default="asha")
