"""A run folder outlives the job of Ray that makes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray._private.runtime_env import working_dir

from search.runs.job import PACKAGES, folder_that_lasts


def test_run_folders_of_a_job_lie_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    unpacked = working_dir.WorkingDirPlugin(str(tmp_path), None)._resources_dir
    assert folder_that_lasts(Path(unpacked) / "_ray_pkg_12ab") == tmp_path
    assert PACKAGES in Path(unpacked).parts  # as Ray names it


def test_elsewhere_they_lie_where_the_command_runs(tmp_path: Path) -> None:
    assert folder_that_lasts(tmp_path) == tmp_path
