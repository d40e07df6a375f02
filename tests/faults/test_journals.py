"""A search whose journal was cut or damaged goes on, or is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.journals import Original, cuts, flips, lines, losses


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return Original(tmp_path_factory.mktemp("journals"))


def test_lost_after_any_event_it_ends_with_the_same_leaderboard(
    original: Original, tmp_path: Path
) -> None:
    row = losses(original, tmp_path, every=7)
    assert row.is_sound, row.found


def test_a_journal_cut_anywhere_loses_nothing_else(original: Original, tmp_path: Path) -> None:
    row = cuts(original, tmp_path, 10)
    assert row.is_sound, row.found


def test_a_damaged_byte_never_changes_the_leaderboard(original: Original, tmp_path: Path) -> None:
    row = flips(original, tmp_path, 10)
    assert row.is_sound, row.found


def test_a_line_that_is_replaced_or_removed_is_noticed(original: Original, tmp_path: Path) -> None:
    row = lines(original, tmp_path)
    assert row.is_sound, row.found


def test_a_journal_that_tells_of_no_trial_removes_no_model(
    original: Original, tmp_path: Path
) -> None:
    head = original.journal.splitlines(keepends=True)[0]
    for journal in (b"", head):
        said = original.damage(tmp_path, journal)
        assert "tells of no trial, though" in said and "nothing was removed" in said
        kept = {path.name for path in (tmp_path / "damaged" / "trials").iterdir()}
        assert kept == {path.name for path in (original.folder / "trials").iterdir()}
