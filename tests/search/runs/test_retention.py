"""Where the checkpoints of a run are."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.runs.retention import checkpoints_of, claim


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
