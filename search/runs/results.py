"""leaderboard.csv and report.html of a run folder, written while the trials go on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from search.report.leaderboard import write_leaderboard
from search.runs.console import explain_os_error

if TYPE_CHECKING:
    from search.events.outcomes import Outcomes

LEADERBOARD = "leaderboard.csv"
# A page holds its charts' library, 5 MB: with many short trials it is not written for each.
SECONDS_BETWEEN_PAGES = 20.0


class Results:
    """Writes what a run folder shows of its trials.

    Args:
        folder: the run folder, with its record.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written = -SECONDS_BETWEEN_PAGES

    def write(self, outcomes: Outcomes, *, final: bool = False) -> str:
        """Write the leaderboard and, where the last one is old, the page.

        Args:
            final: write the page however new the last one is.

        Returns:
            Why the page could not be written; empty where it was, or was not due.

        Raises:
            OSError: the leaderboard cannot be written.
        """
        write_leaderboard(self._folder / LEADERBOARD, outcomes)
        now = time.monotonic()
        if not final and now - self._written < SECONDS_BETWEEN_PAGES:
            return ""
        self._written = now
        from search.report.page import REPORT, write_page
        from search.runs.reported import reported_run

        try:
            write_page(self._folder / REPORT, [reported_run(self._folder, outcomes)])
        except OSError as error:  # it can be made again from the journal
            return f"{REPORT} could not be written: {explain_os_error(error)}"
        return ""
