"""Files of plain lines, one a language."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from search.data.source import read_source
from search.settings.problems import InputError
from tests.search.conftest import data_settings

ENGLISH = ['"Yes,', "No\tway", "", "NA", "id"]
GERMAN = ["Ja,", "Nein", "leer", '"', "x\u2028y"]


def write(folder: Path) -> dict[str, str]:
    (folder / "c.en").write_text("\n".join(ENGLISH) + "\n", encoding="utf-8")
    # Another file may be compressed, and may lack the last line end.
    (folder / "c.de.gz").write_bytes(gzip.compress("\r\n".join(GERMAN).encode()))
    return {"en": str(folder / "c.en"), "id": str(folder / "c.de.gz")}


@pytest.mark.parametrize("full", [False, True])
def test_lines_are_rows_and_the_names_given_are_languages(tmp_path: Path, full: bool) -> None:
    files = write(tmp_path)
    settings = data_settings(train={"kind": "moses", "files": files} if full else files)
    found = read_source(settings, "train", None)
    assert found.table.to_pydict() == {"en": [line or None for line in ENGLISH], "id": GERMAN}
    assert (found.rows_read, found.blank) == (5, {"en": 1})


def test_a_pattern_that_matches_files_named_by_languages(tmp_path: Path) -> None:
    for language, text in (("de", "eins\n"), ("en", "one\n")):
        (tmp_path / f"news.de-en.{language}").write_text(text)
    found = read_source(data_settings(train=f"{tmp_path}/news.de-en.*"), "train", None)
    assert found.table.to_pydict() == {"de": ["eins"], "en": ["one"]}


@pytest.mark.parametrize("lengths", [(3, 5), (5, 3), (9000, 8192), (8192, 20000)])
def test_unequal_files_are_told_with_both_counts(tmp_path: Path, lengths: tuple[int, int]) -> None:
    files = {}
    for language, count in zip(("en", "de"), lengths, strict=True):
        file = tmp_path / f"u.{language}"
        file.write_text("word\n" * count)
        files[language] = str(file)
    with pytest.raises(InputError) as caught:
        read_source(data_settings(train=files), "train", None)
    (found,) = caught.value.problems
    assert f"u.en' has {lengths[0]:,} lines and " in found.message
    assert f"u.de' has {lengths[1]:,} lines" in found.message
