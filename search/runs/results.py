"""leaderboard.csv and report.html of a run folder, written while the trials go on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from search.report import leaderboard
from search.runs.console import explain_os_error

if TYPE_CHECKING:
    from search.events.outcomes import Outcomes

LEADERBOARD = "leaderboard.csv"
# A page holds its charts' library, 5 MB: with many short trials it is not written for each.
SECONDS_BETWEEN_PAGES = 20.0
# The leaderboard is written whole, so that of thousands of short trials it would take most of the
# time. Where trials end faster than so many times what it takes, several ends are written at once.
TIMES_AS_LONG = 20


class Results:
    """Writes what a run folder shows of its trials.

    Args:
        folder: the run folder, with its record.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written = -SECONDS_BETWEEN_PAGES
        self._due = 0.0  # when the leaderboard may be written again
        self._is_behind = False

    def catch_up(self, outcomes: Outcomes) -> None:
        """Write the leaderboard, if that was put off and is due by now.

        Raises:
            OSError: it cannot be written.
        """
        started = time.monotonic()
        if not self._is_behind or started < self._due:
            return
        leaderboard.write_leaderboard(self._folder / LEADERBOARD, outcomes)
        ended = time.monotonic()
        self._due = ended + TIMES_AS_LONG * (ended - started)
        self._is_behind = False

    def write(self, outcomes: Outcomes, *, final: bool = False) -> str:
        """Write the leaderboard and, where the last one is old, the page.

        Where the leaderboard is not due yet, `catch_up` writes it.

        Args:
            final: write both however new the last ones are.

        Returns:
            Why the page could not be written; empty where it was, or was not due.

        Raises:
            OSError: the leaderboard cannot be written.
        """
        self._is_behind = True
        if final:
            self._due = 0.0
        self.catch_up(outcomes)
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
