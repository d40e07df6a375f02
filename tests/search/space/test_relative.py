"""Relative paths in a space file."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.space.source import read

SPACE = """
base: {model: {choice: [models/base, owner/name]}}
loss:
  choice:
  - {kind: distillation, teacher: models/teacher}
  - {kind: sum, weights: {gist: 1.0}, settings: {gist: {teacher: models/teacher}}}
data:
  train: {en: text/a.en, de: text/a.de}
  validation: [text/*.tsv, "text/b c.tsv"]
  test: {kind: hub, name: set, config: text, split: text}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A space file and what it names, in a folder below the working directory."""
    folder = tmp_path / "mine"
    for part in ("models/base", "models/teacher", "text", "set"):
        (folder / part).mkdir(parents=True)
    for name in ("a.en", "a.de", "v.tsv", "b c.tsv"):
        (folder / "text" / name).write_text("")
    (folder / "space.yaml").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    return folder


def test_what_is_beside_the_file_is_found_from_it(folder: Path) -> None:
    tree = read(Path("mine/space.yaml")).tree
    assert tree["base"]["model"] == {"choice": ["mine/models/base", "owner/name"]}
    assert tree["loss"]["choice"][0]["teacher"] == "mine/models/teacher"
    assert tree["loss"]["choice"][1]["settings"]["gist"]["teacher"] == "mine/models/teacher"
    assert tree["data"]["train"] == {"en": "mine/text/a.en", "de": "mine/text/a.de"}
    assert tree["data"]["validation"] == ["mine/text/*.tsv", "mine/text/b c.tsv"]
    assert tree["data"]["test"] == {
        "kind": "hub", "name": "mine/set", "config": "text", "split": "text"
    }  # fmt: skip


def test_what_is_not_there_counts_from_the_working_directory(folder: Path) -> None:
    (folder / "space.yaml").write_text(
        "base: {model: builtin:tiny}\ndata: {train: text/none.tsv, test: ~/mine, validation: ''}"
    )
    tree = read(Path("mine/space.yaml")).tree
    assert tree["data"] == {"train": "text/none.tsv", "test": "~/mine", "validation": ""}
    assert tree["base"] == {"model": "builtin:tiny"}


def test_paths_read_the_same_however_the_file_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "other.yaml").write_text("base: {model: mine/models/base}")
    tree = read(Path("mine/space.yaml")).tree
    assert read(folder / "space.yaml").tree == tree
    assert read(Path("mine/models/../space.yaml")).tree == tree
    assert read(folder.parent / "other.yaml").tree["base"] == {"model": "mine/models/base"}
    monkeypatch.chdir(folder / "text")  # nothing lies below it
    assert read(Path("../space.yaml")).tree["base"]["model"]["choice"] == [
        str(folder / "models/base"), "owner/name"
    ]  # fmt: skip
    monkeypatch.chdir(folder)
    assert read(Path("space.yaml")).tree["data"]["validation"] == ["text/*.tsv", "text/b c.tsv"]


def test_options_count_from_the_working_directory(folder: Path) -> None:
    (folder.parent / "text").mkdir()
    tree = read(Path("mine/space.yaml"), ["data.train=text/a.en"]).tree
    assert tree["data"]["train"] == "text/a.en"


def test_with_a_data_set_s_configuration(folder: Path) -> None:
    (folder / "space.yaml").write_text("data: {train: 'set:de-en'}")
    assert read(Path("mine/space.yaml")).tree["data"]["train"] == "mine/set:de-en"
