"""The Python API reads a run, and searches as the command does."""

from __future__ import annotations

from pathlib import Path

import pytest

from search import load_run
from search.events.journal import Journal
from search.events.types import EpochDone, TrialEnded, TrialStarted, UntouchedScored
from search.settings.problems import InputError

ROOT = Path(__file__).parents[2]


def epoch(trial: int, **scores: float) -> EpochDone:
    return EpochDone(
        trial=trial, epoch=1, loss=1.0, accuracy=sum(scores.values()) / len(scores),
        by_language=scores, seconds=1.5, trainable_parameters=8, start="tokens", began=0.0,
        ended=1.0,
    )  # fmt: skip


def test_a_run_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for event in (
        UntouchedScored(accuracy=0.2, by_language={"de": 0.3, "gu": 0.1}),
        TrialStarted(trial=0, reference=True, values={"pooling": {"kind": "mean"}}),
        TrialStarted(trial=1, reference=False, values={"pooling": {"kind": "max"}}),
        epoch(0, de=0.8, gu=0.2),
        epoch(1, de=0.7, gu=0.5),
        TrialEnded(trial=0, state="finished"),
        TrialEnded(trial=1, state="stopped"),
    ):
        journal.append(event)
    journal.close()
    found = load_run(tmp_path)
    assert [row["trial"] for row in found.trials] == [1, 0]
    assert found.best["pooling.kind"] == "max"
    assert found.best["accuracy/gu"] == 0.5
    assert found.untouched == {"de": 0.3, "gu": 0.1}
    with pytest.raises(ValueError, match="has no best/"):
        found.model()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a run folder"):
        load_run(tmp_path)


def test_a_run_without_a_score_has_no_best(tmp_path: Path) -> None:
    Journal(tmp_path / "journal.jsonl").close()
    with pytest.raises(ValueError, match="no trial of"):
        _ = load_run(tmp_path).best


def test_faults_name_the_argument(tmp_path: Path) -> None:
    from search import run

    with pytest.raises(InputError, match=r"base=/nowhere: base\.model"):
        run(ROOT / "spaces/quick.yaml", base="/nowhere", output=tmp_path)
    with pytest.raises(InputError, match="timeout is"):
        run(ROOT / "spaces/quick.yaml", timeout="soon", output=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_search_from_python(tmp_path: Path) -> None:
    from search import run

    found = run(
        ROOT / "spaces/quick.yaml", languages=["en", "de"], epochs=3, trials=1, output=tmp_path
    )
    assert found.status == 0
    assert found.model().encode(["one"]).shape[0] == 1
    assert len(load_run(found.folder).trials) == 1
