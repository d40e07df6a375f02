"""How the learning rate falls after its rise: ``optimizer.schedule``. A file a kind.

A schedule has no settings, so a space file gives its kind alone (``schedule: cosine``).
"""

from typing import TYPE_CHECKING, Literal

from components.config import variants
from search.settings.interface import ScheduleConfig

_VARIANTS = variants(__name__, ScheduleConfig)

if TYPE_CHECKING:
    ScheduleName = str
else:
    ScheduleName = Literal[tuple(_VARIANTS)]


def decay_factor(name: ScheduleName, left: float) -> float:
    """Compute the share of the peak learning rate by the name of a schedule.

    Args:
        left: as in `ScheduleConfig.factor`.
    """
    schedule = _VARIANTS[name]()
    assert isinstance(schedule, ScheduleConfig)
    return schedule.factor(left)
