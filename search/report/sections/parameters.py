"""Quality against the parameters that train."""

from __future__ import annotations

from search.report.front import describe_front
from search.report.section import ReportedRun, Section

ORDER = 50


def describe(run: ReportedRun) -> Section:
    """Each trial's score, after the epochs that it trained, against its size."""
    return describe_front(
        run.outcomes,
        "Quality against parameters",
        "parameters that train",
        lambda outcome: float(outcome.trainable_parameters or 0),
        log=True,
    )
