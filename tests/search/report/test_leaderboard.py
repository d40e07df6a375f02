"""The leaderboard file: one row a trial, whatever the trials have in common."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from search.events.outcomes import Outcomes
from search.events.types import (
    EpochDone,
    Event,
    JournalStarted,
    State,
    TrialEnded,
    TrialStarted,
    UntouchedScored,
)
from search.report.leaderboard import write_leaderboard
from search.scoring.constraints import Constraints


def trial(number: int, values: dict[str, Any]) -> TrialStarted:
    return TrialStarted(trial=number, reference=number == 0, values=values)


def report(number: int, accuracy: float, **by_language: float) -> EpochDone:
    return EpochDone(
        trial=number,
        epoch=2,
        loss=1.0,
        accuracy=accuracy,
        by_language=by_language,
        seconds=1.23456,
        trainable_parameters=100 + number,
        start="tokens",
        began=0.0,
        ended=1.0,
    )


def end(number: int, state: State) -> TrialEnded:
    return TrialEnded(trial=number, state=state, error="why")


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_a_row_a_trial_best_first(tmp_path: Path) -> None:
    outcomes = Outcomes(
        [
            trial(0, {"head": {"kind": "linear"}, "lr": 0.001}),
            trial(1, {"head": {"kind": "mlp", "hidden": 8}, "lr": 0.01}),
            trial(2, {"head": {"kind": "mlp", "hidden": 4}, "targets": ["q", 'a "b", c'],
                      "learned": True, "alpha": None}),
            trial(3, {}),
            report(0, 0.25, de=0.2, ko=0.3),
            report(1, 0.5, de=0.4, ko=0.6),
            report(2, 0.9, de=0.9, ko=0.9),
            end(0, "finished"),
            end(1, "stopped"),
            end(2, "failed"),
        ]
    )  # fmt: skip
    file = tmp_path / "leaderboard.csv"
    write_leaderboard(file, outcomes)
    assert rows(file)[:2] == [
        {
            "rank": "1", "trial": "1", "state": "stopped", "accuracy": "0.5", "epochs": "2",
            "seconds": "1.235", "trainable_parameters": "101", "accuracy/de": "0.4",
            "accuracy/ko": "0.6", "head.kind": "mlp", "head.hidden": "8", "lr": "0.01",
            "targets": "", "learned": "", "alpha": "",
        },
        {
            "rank": "2", "trial": "0", "state": "finished", "accuracy": "0.25", "epochs": "2",
            "seconds": "1.235", "trainable_parameters": "100", "accuracy/de": "0.2",
            "accuracy/ko": "0.3", "head.kind": "linear", "head.hidden": "", "lr": "0.001",
            "targets": "", "learned": "", "alpha": "",
        },
    ]  # fmt: skip
    third, fourth = rows(file)[2:]
    # A trial that runs, or that an interrupted search left, has neither failed nor a score.
    assert (third["trial"], third["state"], third["accuracy"]) == ("3", "unfinished", "")
    assert (fourth["trial"], fourth["state"]) == ("2", "failed")
    assert fourth["accuracy"] == fourth["accuracy/de"] == ""
    assert (fourth["targets"], fourth["learned"]) == ('["q", "a \\"b\\", c"]', "true")


def test_trials_that_do_not_keep_the_constraints_stand_last(tmp_path: Path) -> None:
    limits = Constraints(floors={"ko": -0.05}, max_parameters=101)
    events: list[Event] = [
        JournalStarted(constraints=limits),
        *[trial(number, {}) for number in range(4)],
        report(0, 0.25, de=0.2, ko=0.3),
        report(1, 0.5, de=0.75, ko=0.2),
        report(2, 0.6, de=0.6, ko=0.6),
        report(3, 0.2, de=0.1, ko=0.3).model_copy(update={"trainable_parameters": 50}),
    ]
    write_leaderboard(tmp_path / "leaderboard.csv", Outcomes(events))
    assert [(row["trial"], row["violations"]) for row in rows(tmp_path / "leaderboard.csv")] == [
        ("0", ""),
        ("3", ""),
        ("2", "it trains 1% more parameters than allowed"),
        ("1", "ko is 0.050 below its floor"),
    ]


def test_it_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    file = tmp_path / "leaderboard.csv"
    outcomes = Outcomes([trial(0, {"a": 1}), trial(1, {"a": 2})])
    write_leaderboard(file, outcomes)
    assert len(rows(file)) == 2
    write_leaderboard(file, Outcomes([trial(0, {"a": 1})]))
    assert [row["a"] for row in rows(file)] == ["1"]
    assert list(tmp_path.iterdir()) == [file]


def test_words_of_any_language_survive(tmp_path: Path) -> None:
    file = tmp_path / "leaderboard.csv"
    values = {"base": {"model": '模型, "größer"\nzwei'}}
    write_leaderboard(file, Outcomes([trial(0, values), report(0, 0.5, **{"zh-Hans": 0.5})]))
    (row,) = rows(file)
    assert row["base.model"] == values["base"]["model"]
    assert row["accuracy/zh-Hans"] == "0.5"


def test_a_run_of_no_trials_is_a_header(tmp_path: Path) -> None:
    write_leaderboard(tmp_path / "leaderboard.csv", Outcomes())
    assert rows(tmp_path / "leaderboard.csv") == []


def test_the_untouched_base_has_the_last_row(tmp_path: Path) -> None:
    file = tmp_path / "leaderboard.csv"
    events: list[Event] = [
        trial(0, {"head": {"kind": "linear"}}),
        UntouchedScored(accuracy=0.75, by_language={"de": 0.5, "ko": 1.0}),
        report(0, 0.25, de=0.2, ko=0.3),
        end(0, "finished"),
    ]
    write_leaderboard(file, Outcomes(events))
    *_, last = rows(file)
    assert last == {
        "rank": "", "trial": "", "state": "untouched", "accuracy": "0.75", "epochs": "0",
        "seconds": "", "trainable_parameters": "0", "accuracy/de": "0.5", "accuracy/ko": "1.0",
        "head.kind": "",
    }  # fmt: skip


def test_a_run_cut_off_before_any_epoch_has_the_scores_of_the_base(tmp_path: Path) -> None:
    file = tmp_path / "leaderboard.csv"
    base = UntouchedScored(accuracy=0.75, by_language={"de": 0.5, "ko": 1.0})
    write_leaderboard(file, Outcomes([trial(0, {}), base]))
    first, last = rows(file)
    assert (first["trial"], first["accuracy"], first["accuracy/de"]) == ("0", "", "")
    assert (last["state"], last["accuracy/de"], last["accuracy/ko"]) == ("untouched", "0.5", "1.0")
