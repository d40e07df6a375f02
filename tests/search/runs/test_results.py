"""The leaderboard is as new as its cost allows, and always whole at the end."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from search.events.outcomes import Outcomes
from search.events.types import TrialStarted
from search.report import leaderboard
from search.runs import results
from search.runs.results import LEADERBOARD, TIMES_AS_LONG, Results


def test_a_leaderboard_takes_no_more_than_its_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, write = [1000.0], leaderboard.write_leaderboard

    def write_for_a_second(file: Path, outcomes: Outcomes) -> None:
        write(file, outcomes)
        now[0] += 1

    monkeypatch.setattr(leaderboard, "write_leaderboard", write_for_a_second)
    monkeypatch.setattr("search.runs.results.time.monotonic", lambda: now[0])
    monkeypatch.setattr(results, "SECONDS_BETWEEN_PAGES", float("inf"))
    made = Results(tmp_path)
    made._written = now[0]  # the page is not due
    outcomes = Outcomes()

    def written_after_another_trial() -> int:
        number = len(outcomes.by_trial)
        outcomes.follow(TrialStarted(trial=number, reference=False, values={}))
        made.write(outcomes)
        return rows()

    def rows() -> int:
        with (tmp_path / LEADERBOARD).open(newline="", encoding="utf-8") as file:
            return len(list(csv.DictReader(file)))

    assert written_after_another_trial() == 1
    now[0] += TIMES_AS_LONG - 0.5
    assert written_after_another_trial() == 1  # it would take too much of the time
    made.catch_up(outcomes)
    assert rows() == 1
    now[0] += 0.5
    made.catch_up(outcomes)
    assert rows() == 2
    before = now[0]
    now[0] += TIMES_AS_LONG
    made.catch_up(outcomes)  # nothing has been put off
    assert now[0] == before + TIMES_AS_LONG
    assert written_after_another_trial() == 3
    assert written_after_another_trial() == 3
    made._written = float("inf")
    monkeypatch.setattr("search.report.page.write_page", lambda *arguments: None)
    monkeypatch.setattr("search.runs.reported.reported_run", lambda *arguments: None)
    made.write(outcomes, final=True)
    assert rows() == 4
