"""Files that are written anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from search.runtime.files import replace_text


def test_the_text_is_in_place_of_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("before")
    replace_text(file, "a,b\r\n\udcff\n")
    assert file.read_bytes() == b"a,b\r\n\\udcff\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_an_error_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("before")

    def full(*places: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        replace_text(file, "after")
    assert file.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
