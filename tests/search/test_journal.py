"""The journal: what is written is read again, whatever happened to its end."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from search.journal import Journal, Outcomes, read_journal, state_of


def trial(number: int) -> dict[str, Any]:
    return {"event": "trial", "trial": number, "reference": number == 0, "values": {"n": number}}


def report(number: int, epoch: int, accuracy: float, parameters: int = 10) -> dict[str, Any]:
    return {
        "event": "report",
        "trial": number,
        "epoch": epoch,
        "seconds": epoch * 1.5,
        "accuracy": accuracy,
        "by_language": {"de": accuracy},
        "trainable_parameters": parameters,
    }


def end(number: int, state: str, error: str = "") -> dict[str, Any]:
    return {"event": "end", "trial": number, "state": state, "error": error}


def test_events_come_back_as_they_were_written(tmp_path: Path) -> None:
    events = [trial(0), report(0, 1, 0.1 + 0.2), {"event": "note", "text": '日本\n"quoted"'}]
    journal = Journal(tmp_path / "journal.jsonl")
    for event in events:
        journal.append(event)
    # Readable before it is closed: a report may follow a search that still runs.
    assert list(read_journal(tmp_path / "journal.jsonl")) == events
    journal.close()
    assert list(read_journal(tmp_path / "journal.jsonl")) == events


def test_not_a_number_comes_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(report(0, 1, math.nan))
    journal.close()
    (event,) = read_journal(tmp_path / "journal.jsonl")
    assert math.isnan(event["accuracy"])


def test_every_cut_gives_the_events_that_were_whole(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    events = [trial(0), {"event": "note", "text": "ü日"}]
    text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events).encode()
    first = text.index(b"\n") + 1
    for size in range(len(text) + 1):
        file.write_bytes(text[:size])
        whole = 2 if size == len(text) else int(size >= first)
        assert list(read_journal(file)) == events[:whole]


def test_a_journal_goes_on_after_a_cut(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    for event in (trial(0), trial(1)):
        journal = Journal(file)
        journal.append(event)
        journal.close()
    file.write_bytes(file.read_bytes()[:-4])
    journal = Journal(file)
    journal.append(trial(2))
    journal.close()
    assert [event["trial"] for event in read_journal(file)] == [0, 2]


def test_outcomes_follow_the_events() -> None:
    outcomes = Outcomes([trial(0), report(0, 1, 0.3), report(0, 2, 0.4), end(0, "finished")])
    outcome = outcomes.by_trial[0]
    assert (outcome.state, outcome.epochs, outcome.accuracy) == ("finished", 2, 0.4)
    assert (outcome.seconds, outcome.by_language) == (3.0, {"de": 0.4})
    assert outcome.reference
    assert outcome.trainable_parameters == 10


def test_trials_are_counted_by_state() -> None:
    events = [trial(n) for n in range(4)]
    outcomes = Outcomes([*events, end(0, "finished"), end(1, "stopped"), end(2, "failed", "why")])
    assert [outcomes.count(s) for s in ("finished", "stopped", "failed", None)] == [1, 1, 1, 1]
    assert outcomes.by_trial[2].error == "why"


def test_the_best_stand_first_and_the_failed_last() -> None:
    outcomes = Outcomes(
        [
            *(trial(n) for n in range(8)),
            report(0, 1, 0.5, parameters=20),
            report(1, 1, 0.9),
            end(1, "failed", "diverged later"),
            report(2, 1, 0.7),
            report(3, 1, 0.5, parameters=10),  # as good as trial 0, with a smaller model
            report(4, 1, math.nan),
            report(5, 1, 0.0),
            report(6, 1, 0.5, parameters=10),  # as good as trial 3, but later
        ]
    )
    assert [outcome.trial for outcome in outcomes.ranked()] == [2, 3, 6, 0, 5, 7, 1, 4]
    best = outcomes.best()
    assert best is not None
    assert best.trial == 2


@pytest.mark.parametrize(
    "events",
    [
        [],
        [trial(0)],
        [trial(0), report(0, 1, math.nan)],
        [trial(0), report(0, 1, 0.5), end(0, "failed", "why")],
    ],
)
def test_nothing_scored_is_no_best(events: list[dict[str, Any]]) -> None:
    assert Outcomes(events).best() is None


def test_the_state_of_an_ended_trial() -> None:
    assert state_of(9, 9, "") == "finished"
    assert state_of(3, 9, "") == "stopped"
    assert state_of(9, 9, "why") == "failed"
