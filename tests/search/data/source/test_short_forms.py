"""What a person writes as data.train -> the full form; from a space file and the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.data.settings import DataSettings
from search.data.source import full_form
from search.settings.problems import InputError
from search.space.file import space_of
from search.space.source import Source, assign, option_value


def table(*files: str) -> dict[str, Any]:
    return {"kind": "table", "files": list(files)}


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("builtin:cldr", {"kind": "builtin", "name": "cldr"}),
        ("gone.tsv", table("gone.tsv")),
        ("gone.TSV.gz", table("gone.TSV.gz")),
        ("./gone", table("./gone")),
        ("~/gone", table("~/gone")),
        ("here", table("here")),
        ("here/*.tsv", table("here/*.tsv")),
        (["a.tsv", "b/*.csv"], table("a.tsv", "b/*.csv")),
        ("opus", {"kind": "hub", "name": "opus"}),
        ("Helsinki-NLP/opus-100:de-en",
         {"kind": "hub", "name": "Helsinki-NLP/opus-100", "config": "de-en"}),
        ("here:de-en", {"kind": "hub", "name": "here", "config": "de-en"}),
        ("card", {"kind": "hub", "name": "card"}),
        ({"en": "a.en", "de": "a.de"},
         {"kind": "moses", "files": {"en": "a.en", "de": "a.de"}}),
        ("c.de-en.*", {"kind": "moses", "files": {"de": "c.de-en.de", "en": "c.de-en.en"}}),
        ("n.*", table("n.*")),  # a number is no language
        ({"kind": "hub", "name": "x", "split": "test"},
         {"kind": "hub", "name": "x", "split": "test"}),
    ],
)  # fmt: skip
def test_every_short_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: Any, full: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "README.md").write_text("---\nlanguage: en\nconfigs:\n- x\n---\ntext\n")
    for name in ("here/a.tsv", "c.de-en.de", "c.de-en.en", "n.1", "n.2"):
        (tmp_path / name).write_text("x\n")
    assert full_form(short) == full
    written = DataSettings(train=short, validation=short).model_dump(exclude_none=True)
    assert written["train"] == written["validation"] == full
    assert DataSettings(**written).train == DataSettings(train=short).train


def test_the_command_line_writes_mappings_and_lists_as_a_space_file_does() -> None:
    assert option_value("{en: a.en, no: b.no}", "--train") == {"en": "a.en", "no": "b.no"}
    assert option_value("[a.tsv, 'b c.tsv']", "--train") == ["a.tsv", "b c.tsv"]
    assert option_value("a, b: c.tsv", "--train") == "a, b: c.tsv"
    with pytest.raises(InputError, match="--train:1: is not YAML"):
        option_value("{en: [a.en}", "--train")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("5", "data.train: is 5; it must be a file"),
        ("[]", "data.train: is []; it must be a file"),
        ("{}", "data.train: is {}; it must be a file"),
        ("''", "data.train: is empty; it must name"),
        ("[a.tsv, 3]", "data.train.1: is 3; it must be text"),
        ("{en: a.en}", "data.train: names a file for 'en' alone"),
        ("{en: a.en, ../../x: b}", "data.train: holds '../../x'; the name of a language must be"),
        ("{kind: hib}", "is 'hib'; it must be one of builtin, hub, moses, table"),
        ("{kind: table, file: a.tsv}", "data.train.file: is no known key"),
        ('"a\\0.tsv"', "data.train: holds a NUL character"),
    ],
)
def test_a_bad_form_is_one_sentence(value: str, words: str) -> None:
    source = Source({"base": {"model": "builtin:tiny"}, "data": {"train": "a.tsv"}}, {})
    assign(source, [f"data.train={value}"])
    with pytest.raises(InputError) as caught:
        space_of(source)
    said = str(caught.value)
    assert words in said
    assert "\n" not in said or "file" in value
