"""How far work has come: told where somebody shows it, and not too often."""

from __future__ import annotations

import pytest

from search.runtime.progress import Progress, shown_by, tell


def test_what_nobody_shows_is_lost() -> None:
    tell("reading")


def test_a_new_phase_is_shown_at_once_and_steps_only_so_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("search.runtime.progress.time.monotonic", lambda: now[0])
    shown: list[str] = []
    with shown_by(lambda one: shown.append(str(one))):
        tell("reading")
        tell("scoring")
        for step in range(100):
            now[0] = step / 100
            tell("epoch 1/2", step, 100, "step")
        tell("scoring")
    tell("after")
    assert shown == ["reading", "scoring", "epoch 1/2 step 50/100", "scoring"]


def test_in_words() -> None:
    assert str(Progress(phase="storing states", done=38, total=100)) == "storing states 38 %"
    assert str(Progress(phase="epoch 2/9", done=41, total=165, unit="step")) == (
        "epoch 2/9 step 41/165"
    )
