"""What is said where a search ends and its run folder is not there."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from search.launch import _explain_absence
from search.settings.problems import InputError

FOLDER = Path("runs/first")


@pytest.mark.parametrize("name", ["runs/first/journal.jsonl", "runs/first"])
def test_a_run_folder_that_was_removed(name: str) -> None:
    told = _explain_absence(FOLDER, FileNotFoundError(errno.ENOENT, "No such file", name))
    assert str(told).startswith("the run folder runs/first was removed while the search ran")


def test_a_working_directory_that_was_removed() -> None:
    told = _explain_absence(FOLDER, FileNotFoundError(errno.ENOENT, "No such file"))
    assert str(told) == "the working directory was removed while the search ran"


@pytest.mark.parametrize(
    "fault",
    [
        InputError("no lane can be placed"),
        OSError(errno.ENOSPC, "No space left on device", "runs/first"),
        FileNotFoundError(errno.ENOENT, "No such file", "models/base/config.json"),
    ],
)
def test_another_fault_before_the_first_trial_is_told_itself(fault: InputError | OSError) -> None:
    assert _explain_absence(FOLDER, fault) is fault
