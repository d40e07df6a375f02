"""The journal: what is written is read again, whatever happened to its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from search.events.journal import Journal, read_journal
from search.events.outcomes import Outcomes, state_of
from search.events.types import (
    EpochDone,
    Event,
    JournalStarted,
    Note,
    State,
    TrialEnded,
    TrialStarted,
    UntouchedScored,
)
from search.settings.problems import InputError


def trial(number: int) -> TrialStarted:
    return TrialStarted(trial=number, reference=number == 0, values={"n": number})


def report(number: int, epoch: int, accuracy: float, parameters: int = 10) -> EpochDone:
    return EpochDone(
        trial=number,
        epoch=epoch,
        loss=1.0,
        accuracy=accuracy,
        by_language={"de": accuracy},
        seconds=epoch * 1.5,
        trainable_parameters=parameters,
        start="tokens",
        began=0.0,
        ended=1.0,
    )


def end(number: int, state: State, error: str = "") -> TrialEnded:
    return TrialEnded(trial=number, state=state, error=error)


EVENTS: list[Event] = [
    trial(0),
    UntouchedScored(accuracy=0.5, by_language={"de": 0.5}),
    report(0, 1, 0.1 + 0.2),
    Note(text='日本\n"quoted"'),
    end(0, "failed", "why"),
]


def write(file: Path, events: Sequence[Event]) -> None:
    journal = Journal(file)
    for event in events:
        journal.append(event)
    journal.close()


def test_events_come_back_as_they_were_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for event in EVENTS:
        journal.append(event)
    # Readable before it is closed: a report may follow a search that still runs.
    assert list(read_journal(tmp_path / "journal.jsonl")) == [JournalStarted(), *EVENTS]
    journal.close()
    assert list(read_journal(tmp_path / "journal.jsonl")) == [JournalStarted(), *EVENTS]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_comes_back(tmp_path: Path, value: float) -> None:
    write(tmp_path / "journal.jsonl", [trial(0), report(0, 1, value)])
    _, _, event = read_journal(tmp_path / "journal.jsonl")
    assert isinstance(event, EpochDone)
    assert str(event.accuracy) == str(value)


def test_every_cut_gives_the_events_that_were_whole(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    events: list[Event] = [trial(0), Note(text="ü日")]
    write(file, events)
    text = file.read_bytes()
    ends = [place + 1 for place, byte in enumerate(text) if byte == ord("\n")]
    for size in range(len(text) + 1):
        file.write_bytes(text[:size])
        whole = sum(end <= size for end in ends)
        assert list(read_journal(file)) == [JournalStarted(), *events][:whole]


@pytest.mark.parametrize("cut", [4, 10_000])
def test_a_journal_goes_on_after_a_cut(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "journal.jsonl"
    write(file, [trial(0), trial(1)])
    file.write_bytes(file.read_bytes()[:-cut])
    write(file, [trial(2)])
    kept = [trial(0)] if cut == 4 else []
    assert list(read_journal(file)) == [JournalStarted(), *kept, trial(2)]


@pytest.mark.parametrize(
    ("first", "named"),
    [
        ('{"event":"journal","format":2}', "the format 2"),
        ('{"event":"trial","trial":0}', "no format"),
        ("no JSON", "no format"),
        ("[1]", "no format"),
    ],
)
def test_a_journal_of_another_format_is_refused(tmp_path: Path, first: str, named: str) -> None:
    file = tmp_path / "journal.jsonl"
    file.write_text(f"{first}\n")
    with pytest.raises(InputError, match=rf"has {named}; this version reads format 1"):
        list(read_journal(file))


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
def test_nothing_scored_is_no_best(events: list[Event]) -> None:
    assert Outcomes(events).best() is None


def test_the_state_of_an_ended_trial() -> None:
    assert state_of(9, 9, "") == "finished"
    assert state_of(3, 9, "") == "stopped"
    assert state_of(9, 9, "why") == "failed"
