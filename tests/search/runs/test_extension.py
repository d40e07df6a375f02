"""More epochs for the best trials of a search: new trials that go on from their weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from search.events.journal import read_journal
from search.events.outcomes import Outcomes
from search.runs.extension import plan_extension, refuse_beside_epochs
from search.runs.record import RunRecord
from search.runs.resume import JOURNAL
from search.settings.problems import InputError
from search.space.file import load_space
from tests.faults.rehearsal import LostError, Rehearsal
from tests.faults.searches import SPACE, leaderboard

EPOCHS = 12  # the search has 9


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    Rehearsal(folder, *load_space(SPACE)).run()
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def record(folder: Path) -> RunRecord:
    return RunRecord(folder, {}, "", {}, {}, 12, None, {})


def outcomes(folder: Path) -> Outcomes:
    return Outcomes(read_journal(folder / JOURNAL))


def test_the_best_go_on_and_what_was_there_stays(folder: Path) -> None:
    before = outcomes(folder)
    best = [outcome.trial for outcome in before.ended()[:3]]
    more = plan_extension(record(folder), best=3, epochs=EPOCHS)
    assert [event.parent for event in more] == best
    search = Rehearsal(folder, *load_space(SPACE), more=more)
    search.run()
    done = {n: before.by_trial[n].epochs for n in best}
    assert search.trained == [
        (12 + index, epoch)
        for index, parent in enumerate(best)
        for epoch in range(done[parent] + 1, EPOCHS + 1)
    ]
    after = outcomes(folder)
    for number, outcome in before.by_trial.items():
        assert after.by_trial[number] == outcome
    for number, parent in enumerate(best, start=12):
        child = after.by_trial[number]
        assert (child.state, child.epochs, child.parent) == ("finished", EPOCHS, parent)
        assert list(child.curve) == list(range(1, EPOCHS + 1))
    parents = {row["trial"]: row["parent"] for row in leaderboard(folder) if row["trial"]}
    assert [parents[str(number)] for number in (12, 13, 14)] == list(map(str, best))
    kept = {str(outcome.trial) for outcome in after.ended()[:5]} | {"0"}  # the reference
    assert {path.name for path in (folder / "trials").iterdir()} == kept
    # They can be trained on again, and each of the search's trials is still there once.
    again = plan_extension(record(folder), best=2, epochs=20)
    assert {event.parent for event in again} <= {12, 13, 14}


def test_lost_anywhere_it_goes_on_to_the_same_end(folder: Path, tmp_path: Path) -> None:
    more = plan_extension(record(folder), best=3, epochs=EPOCHS)
    straight = Path(shutil.copytree(folder, tmp_path / "straight"))
    whole = Rehearsal(straight, *load_space(SPACE), more=more)
    whole.run()
    lost = 0
    while True:
        other = Path(shutil.copytree(folder, tmp_path / f"lost-{lost}"))
        search = Rehearsal(other, *load_space(SPACE), more=more, lost_after=lost)
        try:
            search.run()
            break
        except LostError:
            on = Rehearsal(other, *load_space(SPACE))
            on.run()
        assert leaderboard(other) == leaderboard(straight)
        assert sorted([*search.trained, *on.trained]) == sorted(whole.trained)
        lost += 1
    assert lost > 10


def test_trials_that_are_drawn_later_are_those_of_a_search_without_it(
    folder: Path, tmp_path: Path
) -> None:
    space, config = load_space(SPACE, ["search.trials=16"])
    straight = Path(shutil.copytree(folder, tmp_path / "straight"))
    Rehearsal(straight, space, config).run()
    Rehearsal(
        folder, *load_space(SPACE), more=plan_extension(record(folder), best=1, epochs=10)
    ).run()
    Rehearsal(folder, space, config).run()
    plain, extended = outcomes(straight).by_trial, outcomes(folder).by_trial
    assert extended[12].parent is not None
    assert len(extended) == 17 and len(plain) == 16
    assert sum(o.parent is None for o in extended.values()) == 16


def test_what_cannot_go_on_is_refused(folder: Path) -> None:
    best = outcomes(folder).ended()[0]
    refused = [
        (
            {"best": 3, "epochs": 1},
            f"must be more than {best.epochs}, for which trial {best.trial}",
        ),
        ({"best": 1, "epochs": 9}, "must be more than 9, for which trial"),
        ({"best": 6, "epochs": 20}, "its checkpoint was not kept"),
        ({"best": 99, "epochs": 20}, "it must be at most"),
    ]
    for asked, message in refused:
        with pytest.raises(InputError, match=message):
            plan_extension(record(folder), **asked)
    file = next((folder / "trials" / str(best.trial)).iterdir())
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match="damaged"):
        plan_extension(record(folder), best=1, epochs=20)
    journal = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    (folder / JOURNAL).write_bytes(b"".join(journal[:-1]))
    with pytest.raises(InputError, match="1 trial of the run is unfinished"):
        plan_extension(record(folder), best=1, epochs=20)


def test_options_without_effect_are_refused() -> None:
    for arguments, message in (
        ((None, 3, None), "--best: is given without --epochs"),
        ((9, None, 24), "--epochs: is given beside --trials"),
    ):
        with pytest.raises(InputError, match=message):
            refuse_beside_epochs(*arguments)
    refuse_beside_epochs(9, None, None)
    refuse_beside_epochs(None, None, 24)
