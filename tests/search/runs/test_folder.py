"""The name of a run folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from search.runs.folder import choose_run_folder
from search.runs.record import _version
from search.settings.problems import InputError


def test_runs_that_begin_in_the_same_second_have_names_of_their_own(tmp_path: Path) -> None:
    names = set()
    for _ in range(20):  # in far less than a second
        folder = choose_run_folder(tmp_path, None, "lora family")
        folder.mkdir()
        names.add(folder.name)
    assert len(names) == 20
    assert all(re.fullmatch(r"lora-family-\d{8}-\d{6}(-\d+)?", name) for name in names)


def test_a_long_name_of_a_space_file_is_cut(tmp_path: Path) -> None:
    assert len(choose_run_folder(tmp_path, None, "x" * 5000).name) < 100


@pytest.mark.parametrize("name", ["../out", "", ".hidden", "a/b", "x" * 101, "best.new"])
def test_a_name_must_stay_in_the_output_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="--name is"):
        choose_run_folder(tmp_path, name, "space")


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(InputError, match="in use"):
        choose_run_folder(tmp_path, "one", "space")


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert _version("isogloss-that-is-run-from-its-sources") is None
