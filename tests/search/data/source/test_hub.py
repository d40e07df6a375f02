"""Data sets read by the datasets library: a folder laid out like one stands for the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from search.data.source import read_source
from search.data.source.hub import Hub
from search.settings.problems import InputError
from tests.search.conftest import data_settings

CARD = """---
configs:
- config_name: de-en
  data_files:
  - {split: train, path: de-en/train.jsonl}
  - {split: dev, path: de-en/dev.jsonl}
- config_name: fr-en
  data_files:
  - {split: train, path: fr-en/train.jsonl}
---
# Sentences
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set with two configurations, one of which has two splits."""
    (tmp_path / "README.md").write_text(CARD)
    for config, split in (("de-en", "train"), ("de-en", "dev"), ("fr-en", "train")):
        other = config[:2]
        rows = [{"id": n, "translation": {other: f"{other} {split} {n}", "en": f"en {split} {n}"}}
                for n in range(4)]  # fmt: skip
        (tmp_path / config).mkdir(exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / config / f"{split}.jsonl").write_text(lines)
    return tmp_path


def read(train: Any) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = read_source(
        data_settings(train=train), "train", None
    ).table.to_pydict()
    return found


def expected(language: str, split: str) -> dict[str, list[str]]:
    return {name: [f"{name} {split} {n}" for n in range(4)] for name in (language, "en")}


def test_a_configuration_and_a_split(folder: Path) -> None:
    assert read(f"{folder}:de-en") == expected("de", "train")
    assert read(f"{folder}:fr-en") == expected("fr", "train")
    full = {"kind": "hub", "name": str(folder), "config": "de-en", "split": "dev"}
    assert read(full) == expected("de", "dev")


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("{}", "needs a configuration; it must be one of de-en, fr-en, given as"),
        ("{}:de", "has no configuration 'de'; it must be one of de-en, fr-en"),
        ({"config": "de-en", "split": "test"}, "has no split 'test'; it has train, dev"),
    ],
)
def test_what_there_is_is_told(
    folder: Path, form: Any, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    train = (
        form.format(folder)
        if isinstance(form, str)
        else {"kind": "hub", "name": str(folder)} | form
    )
    with pytest.raises(InputError) as caught:
        read(train)
    (found,) = caught.value.problems
    assert words in found.message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("group/sentences", Hub(name="group/sentences")),
        ("group/sentences:de-en", Hub(name="group/sentences", config="de-en")),
        ("sentences:de:en", Hub(name="sentences:de", config="en")),
    ],
)
def test_names_of_the_hub(name: str, expected: Hub) -> None:
    assert data_settings(train=name).train == expected
