"""Where the checkpoints of a run are."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.events.outcomes import Outcomes
from search.events.types import JournalStarted
from search.runs.retention import Retention, checkpoints_of, claim
from search.scoring.constraints import Constraints
from tests.search.finals.events import trained


@pytest.mark.parametrize("scheme", ["file", "fsspec+file"])
@pytest.mark.parametrize("end", ["", "/"])
def test_in_a_bucket_each_run_has_a_folder_of_its_name(
    tmp_path: Path, scheme: str, end: str
) -> None:
    place = tmp_path / "bucket"
    there = claim(tmp_path / "runs" / "mine", f"{scheme}://{place}{end}")
    there.write(3, 1, [memoryview(b"something")])
    assert there.location == f"{scheme}://{place}/mine"
    assert [path.name for path in (place / "mine").iterdir()] == ["3"]
    assert checkpoints_of(tmp_path / "runs" / "mine", f"{scheme}://{place}{end}").runs() == [(3, 0)]


def test_without_a_bucket_they_lie_in_the_run_folder(tmp_path: Path) -> None:
    assert claim(tmp_path / "mine", None).location == str(tmp_path / "mine" / "trials")


def test_what_keeps_the_constraints_is_kept_though_others_score_higher(tmp_path: Path) -> None:
    checkpoints = claim(tmp_path / "mine", None)
    for number in range(4):
        checkpoints.write(number, 1, [memoryview(b"something")])
    limit = JournalStarted(constraints=Constraints(floors={"de": 0.25}, max_parameters=500))
    small, large, worse = trained(1, 0.5), trained(2, 0.7, parameters=900), trained(3, 0.4)
    reference = trained(0, 0.2)
    retention = Retention(checkpoints, keep=1)
    retention.apply(Outcomes([limit, *reference[:2], *small, *large, *worse]))
    assert len(checkpoints.runs()) == 4  # nobody knows yet how good the reference becomes
    retention.apply(Outcomes([limit, *reference, *small, *large, *worse]))
    assert checkpoints.runs() == [(0, 0), (1, 0)]
