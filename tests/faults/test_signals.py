"""A search that is told to end ranks its trials, makes best/ and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.signals import SIGNALS, by_signal, by_timeout


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "SIGTERM to the group" else pytest.mark.slow)
        for name in SIGNALS
    ],
)
def test_a_signal_ends_a_search_in_order(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The time it takes depends on what else runs; `python -m tests.faults signals` measures it.
    monkeypatch.setattr("tests.faults.searches.CLEAN_WITHIN_S", 300.0)
    row = by_signal(tmp_path, name, most_seconds=300)
    assert row.is_sound, row.found


@pytest.mark.slow
def test_a_search_keeps_to_its_time(tmp_path: Path) -> None:
    row = by_timeout(tmp_path)
    assert row.is_sound, row.found
