"""Table files: every format gives the texts as they stand."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search.data.source import SourceTable, read_source
from search.settings.problems import InputError, Problem
from tests.search.conftest import data_settings

PAIRS = [("Good day.", "Guten Tag."), ("Thank you.", "Danke."), ("See you!", "Bis bald!")]


def read(train: Any, **settings: Any) -> SourceTable:
    chosen = data_settings(
        train=train if isinstance(train, list | dict) else str(train), **settings
    )
    return read_source(chosen, "train", chosen.languages)


def problem(train: Any, **settings: Any) -> Problem:
    with pytest.raises(InputError) as caught:
        read(train, **settings)
    (found,) = caught.value.problems
    assert "\n" not in found.message
    return found


def columns(found: SourceTable) -> dict[str, list[str | None]]:
    return {name: found.table[name].to_pylist() for name in found.table.column_names}


def lines(rows: Sequence[tuple[str, ...]], separator: str = "\t") -> str:
    return "".join(separator.join(row) + "\n" for row in rows)


EXPECTED = {"en": [en for en, _ in PAIRS], "de": [de for _, de in PAIRS]}
TEXTS = {
    "tsv": lines([("en", "de"), *PAIRS]),
    "csv": lines([("en", "de"), *PAIRS], ","),
    "jsonl": "".join(json.dumps({"en": en, "de": de}) + "\n" for en, de in PAIRS),
    "json": json.dumps([{"en": en, "de": de} for en, de in PAIRS], indent=1),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("suffix", TEXTS)
def test_every_text_format_plain_and_compressed(tmp_path: Path, suffix: str, packed: bool) -> None:
    data = TEXTS[suffix].encode()
    file = tmp_path / (f"train.{suffix}.gz" if packed else f"train.{suffix}")
    file.write_bytes(gzip.compress(data) if packed else data)
    found = read(file)
    assert columns(found) == EXPECTED
    assert (found.rows_read, found.ignored, found.notes) == (3, {}, ())
    assert found.table.schema.types == [pa.large_string()] * 2


def test_line_ends_of_windows_and_a_byte_order_mark(tmp_path: Path) -> None:
    for suffix in ("tsv", "csv", "jsonl"):
        file = tmp_path / f"train.{suffix}"
        file.write_bytes(b"\xef\xbb\xbf" + TEXTS[suffix].replace("\n", "\r\n").encode())
        assert columns(read(file)) == EXPECTED


def test_quotation_marks_of_a_tsv_file_are_text(tmp_path: Path) -> None:
    rows = [('"Yes', "Ja"), ("No", '"Nein"'), ('say "hi"', 'sag ""hallo'), ('"', "x\u2028y")]
    file = tmp_path / "quotes.tsv"
    file.write_text(lines([("en", "de"), *rows]), encoding="utf-8")
    assert columns(read(file)) == {"en": [en for en, _ in rows], "de": [de for _, de in rows]}


def test_quotation_marks_of_a_csv_file_quote(tmp_path: Path) -> None:
    file = tmp_path / "quotes.csv"
    file.write_text('en,de\n"Yes, ""sir""","Ja\nHerr"\n"",x y\nNo,Nein\n')
    assert columns(read(file)) == {
        "en": ['Yes, "sir"', None, "No"],
        "de": ["Ja\nHerr", "x y", "Nein"],
    }


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_long_field_reads_alike_in_every_row(tmp_path: Path, suffix: str, place: int) -> None:
    rows = list(PAIRS)
    rows[place] = ("word " * 40_000, "Wort")
    file = tmp_path / f"long.{suffix}"
    if suffix == "jsonl":
        file.write_text("".join(json.dumps({"en": e, "de": d}) + "\n" for e, d in rows))
    else:
        file.write_text(lines([("en", "de"), *rows], "\t" if suffix == "tsv" else ","))
    assert columns(read(file))["en"] == [en.strip() for en, _ in rows]


def test_blank_cells_are_missing_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "blank.jsonl"
    rows = [{"en": " a ", "de": ""}, {"en": " \t", "de": "b"}, {"en": None, "de": "c"}, {"de": "d"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(file)
    assert columns(found) == {"en": ["a", None, None, None], "de": [None, "b", "c", "d"]}
    assert found.blank == {"en": 1, "de": 1}


def test_folders_patterns_and_lists(tmp_path: Path) -> None:
    for number, pair in enumerate(PAIRS):
        (tmp_path / f"part-{number}.tsv").write_text(lines([("en", "de"), pair]))
    (tmp_path / "README.md").write_text("words")
    names = [str(tmp_path / f"part-{n}.tsv") for n in range(3)]
    for train in (
        tmp_path,
        tmp_path / "part-*.tsv",
        names,
        [names[0], str(tmp_path / "*[12].tsv")],
    ):
        assert columns(read(train)) == EXPECTED
    (tmp_path / "more.csv").write_text("en,de\na,b\n")
    assert "files of several formats" in problem(tmp_path).message


def test_files_whose_columns_differ_leave_gaps(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("en\tde\na\tb\n")
    (tmp_path / "b.tsv").write_text("fr\ten\nc\td\n")
    assert columns(read(tmp_path)) == {"en": ["a", "d"], "de": ["b", None], "fr": [None, "c"]}


def test_nested_translations_of_mixed_languages(tmp_path: Path) -> None:
    rows = [{"id": 1, "translation": {"en": "a", "de": "b"}},
            {"id": 2, "translation": {"id": "c", "en": "d"}}]  # fmt: skip
    file = tmp_path / "mixed.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    # Under "translation", id is Indonesian; beside it, a row number.
    assert columns(read(file, languages=["en", "de"])) == {"en": ["a", "d"], "de": ["b", None]}
    pq.write_table(
        pa.table({"translation": [r["translation"] for r in rows]}), tmp_path / "m.parquet"
    )
    expected = {"en": ["a", "d"], "de": ["b", None], "id": [None, "c"]}
    found = columns(read(tmp_path / "m.parquet"))
    assert {name: found[name] for name in expected} == expected


def test_dates_and_numbers_in_quotes_stay_as_written(tmp_path: Path) -> None:
    file = tmp_path / "dates.jsonl"
    rows = [{"en": "2024-01-01", "de": "1.5 Liter"}, {"en": "007", "de": "NaN"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert columns(read(file)) == {"en": ["2024-01-01", "007"], "de": ["1.5 Liter", "NaN"]}


def test_a_file_without_a_header_line(tmp_path: Path) -> None:
    file = tmp_path / "plain.tsv"
    file.write_text(lines(PAIRS))
    assert "needs its columns named" in problem(file).message
    assert "data.columns: [en, de]" in problem(file).message
    assert columns(read(file, columns=["en", "de"])) == EXPECTED
    wrong = problem(file, columns=["en", "de", "fr"])
    assert "has 2 cells, but data.columns names 3" in wrong.message


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_csv_file_with_another_separator_is_read_and_told(tmp_path: Path, separator: str) -> None:
    file = tmp_path / "other.csv"
    file.write_text(lines([("en", "de"), *PAIRS], separator))
    found = read(file)
    assert columns(found) == EXPECTED
    assert "not by a comma" in found.notes[0]


def test_a_table_of_pairs(tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text("src\ttgt\tlang\tscore\na\tb\tde\t1\nc\td\tid\t2\n")
    names = {"source": "src", "target": "tgt", "language": "lang"}
    expected = {"en": ["a", "c"], "de": ["b", None], "id": [None, "d"]}
    assert columns(read(file, pairs=names)) == expected
    assert "data.pairs" in problem(file).message
    wrong = problem(file, pairs=names | {"target": "tgr"})
    assert "has no column 'tgr', which data.pairs names" in wrong.message
    assert "did you mean 'tgt'?" in wrong.message
    file.write_text("s,t,a,b\nx,y,de,fr\nz,w,en,de\n")
    both = {"source": "s", "target": "t", "language": "b", "source_language": "a"}
    file = file.rename(tmp_path / "pairs.csv")
    found = read(file, pairs=both, pivot="de")
    assert columns(found) == {"de": ["x", "w"], "fr": ["y", None], "en": [None, "z"]}
    same = problem(file, pairs=both | {"source_language": "b"})
    assert "line 2: both sentences are in 'fr'" in same.message


WORDS = "score src text source idx title url domain row ref mt target tgt key hyp seg sys"


@pytest.mark.parametrize("name", WORDS.split())
def test_a_word_is_no_language_unless_it_is_listed(tmp_path: Path, name: str) -> None:
    file = tmp_path / "words.tsv"
    file.write_text(f"en\t{name}\tde\nGood day\tone two\tGuten Tag\n")
    found = read(file)
    assert found.table.column_names == ["en", "de"]
    assert list(found.ignored) == [name]
    assert read(file, languages=["de", name, "en"]).table.column_names == ["de", name, "en"]


@pytest.mark.parametrize(
    "name", ["de", "deu", "zho_Hans", "zh-Hant-TW", "pt-BR", "ceb", "min_Latn", "es-419", "no"]
)
def test_a_language_code_is_a_language(tmp_path: Path, name: str) -> None:
    file = tmp_path / "codes.tsv"
    file.write_text(f"en\t{name}\tscore\nGood day\tword\t1.0\n")
    assert read(file).table.column_names == ["en", name]


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_a_stray_number_is_found_in_any_row(tmp_path: Path, odd: int) -> None:
    rows: list[dict[str, Any]] = [{"en": en, "de": de, "fr": "mot"} for en, de in PAIRS]
    rows[odd]["fr"] = 7
    file = tmp_path / "stray.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert f"line {odd + 1}: holds 7 in the column 'fr'" in problem(file).message


def test_a_language_that_is_listed_and_missing_is_the_lists_fault(tmp_path: Path) -> None:
    file = tmp_path / "plain.tsv"
    file.write_text(TEXTS["tsv"])
    found = problem(file, languages=["no", "en"])
    assert found.key == "data.languages"
    assert "names 'no', but" in found.message
    assert "it has en, de" in found.message


def test_columns_that_are_ignored_are_told_once(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.csv").write_text("en,de,score\nGood day,Guten Tag,0.5\n")
    assert read(tmp_path).notes == ("columns ignored: 'score' (its name is no language code)",)
