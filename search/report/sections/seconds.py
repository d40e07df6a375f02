"""Quality against the time that a trial takes."""

from __future__ import annotations

from search.report.front import describe_front
from search.report.section import ReportedRun, Section

ORDER = 55


def describe(run: ReportedRun) -> Section:
    """Each trial's score, after the epochs that it trained, against its seconds."""
    return describe_front(
        run.outcomes,
        "Quality against time",
        "seconds of training and evaluation",
        lambda outcome: outcome.seconds,
        log=False,
    )
