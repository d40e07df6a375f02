"""A killed driver loses nothing; and what counts the losses finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.events.types import EpochDone, Event, TrialContinued, TrialStarted
from tests.faults.kills import read_story, rows


def start_of(trial: int) -> Event:
    return TrialStarted(trial=trial, reference=False, values={})


def done(trial: int, epoch: int) -> Event:
    return EpochDone(
        trial=trial, epoch=epoch, loss=1.0, accuracy=0.5, by_language={}, seconds=1.0,
        trainable_parameters=1, start="tokens", began=0.0, ended=1.0,
    )  # fmt: skip


def test_epochs_that_are_trained_again_and_silent_restarts_are_counted() -> None:
    sound = [start_of(0), done(0, 1), done(0, 2), TrialContinued(trial=0, epoch=2), done(0, 3)]
    assert read_story(sound) == ({0: 1}, 0)
    again = [start_of(0), done(0, 1), done(0, 2), TrialContinued(trial=0, epoch=0), done(0, 1)]
    assert read_story(again) == ({2: 1}, 0)
    silent = [start_of(0), done(0, 1), start_of(0), done(0, 1), done(0, 1)]
    assert read_story(silent) == ({}, 2)


@pytest.mark.slow
def test_a_search_whose_driver_is_killed_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    for row in rows(tmp_path, 3):
        assert row.is_sound, row.found
