"""Rows as people have them, in every format and arrangement: the texts as they stand."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search.data.reading.collect import BLOCK_ROWS
from search.data.settings import DataSettings
from search.data.source import SourceTable, read_source

# Words that libraries take for missing, quotation marks, signs that some take for line ends.
ROWS: dict[str, list[str | None]] = {
    "en": ['"Yes', "NA", 'he said "no", twice', "12", None, "nan", "a\u2028b\x85c", '"'],
    "de": ["Ja", "null", "nein; doch", '"x" y', "None", None, "1,5", "´`'"],
    "zh": ["是", "一", None, "2024-01-01", "三", "五", "\u3000六", "七"],
}


def read(train: Any, **settings: Any) -> SourceTable:
    data = DataSettings(train=train, **settings)
    return read_source(data, "train", data.languages)


def texts(file: Path | str, **settings: Any) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = read(str(file), **settings).table.to_pydict()
    return found


def encoded(format_: str, rows: dict[str, list[Any]]) -> bytes:
    lines = [list(rows), *zip(*rows.values(), strict=True)]
    if format_ == "tsv":
        return "".join("\t".join(t or "" for t in line) + "\n" for line in lines).encode()
    if format_ == "csv":
        out = io.StringIO()
        csv.writer(out).writerows(lines)
        return out.getvalue().encode()
    objects = [dict(zip(rows, line, strict=True)) for line in lines[1:]]
    if format_ == "json":
        return json.dumps(objects, indent=1).encode()
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in objects).encode()


EXPECTED = {name: [t and t.strip() for t in column] for name, column in ROWS.items()}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("format_", ["tsv", "csv", "jsonl", "json"])
def test_every_text_format(tmp_path: Path, format_: str, compressed: bool, mark: bytes) -> None:
    data = mark + encoded(format_, ROWS)
    file = tmp_path / (f"a.{format_}" + (".gz" if compressed else ""))
    file.write_bytes(gzip.compress(data) if compressed else data)
    found = read(str(file))
    assert found.table.to_pydict() == EXPECTED
    assert {field.type for field in found.table.schema} == {pa.large_string()}
    assert (found.rows_read, found.ignored, found.notes) == (8, {}, ())


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
)
def test_parquet(tmp_path: Path, type_: pa.DataType) -> None:
    columns = {name: pa.array(column, pa.string()).cast(type_) for name, column in ROWS.items()}
    pq.write_table(
        pa.table(columns | {"score": [0.5] * 8, "ko": [None] * 8}), tmp_path / "a.parquet"
    )
    found = read(str(tmp_path / "a.parquet"))
    assert found.table.to_pydict() == EXPECTED | {"ko": [None] * 8}
    assert found.ignored == {"score": "its name is no language code"}


def test_other_line_ends_and_empty_lines(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"en\tde\r\na\tb\r\n\r\n c \t\r\n\t  \r\nd\te")
    found = read(str(tmp_path / "a.tsv"))
    assert found.table.to_pydict() == {"en": ["a", "c", None, "d"], "de": ["b", None, None, "e"]}
    assert found.blank == {"en": 1, "de": 2}


def test_a_csv_field_of_several_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('en,de\n"a\nb, c\n\nd",x\n"y ""z""",w\n')
    assert texts(tmp_path / "a.csv") == {"en": ["a\nb, c\n\nd", 'y "z"'], "de": ["x", "w"]}


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_csv_file_with_another_separator(tmp_path: Path, separator: str) -> None:
    (tmp_path / "a.csv").write_text(f'en{separator}de\na, b{separator}"c{separator}d"\n')
    found = read(str(tmp_path / "a.csv"))
    assert found.table.to_pydict() == {"en": ["a, b"], "de": [f"c{separator}d"]}
    assert "not by a comma" in found.notes[0]


@pytest.mark.parametrize("place", [0, 1, BLOCK_ROWS + 3])
@pytest.mark.parametrize("format_", ["tsv", "csv", "jsonl"])
def test_a_long_field_is_read_in_whatever_row(tmp_path: Path, format_: str, place: int) -> None:
    long = "lorem ipsum " * 12_000
    rows: dict[str, list[Any]] = {
        "en": [long if row == place else f"en {row}" for row in range(BLOCK_ROWS + 9)],
        "de": [f"de {row}" for row in range(BLOCK_ROWS + 9)],
    }
    (tmp_path / f"a.{format_}").write_bytes(encoded(format_, rows))
    found = texts(tmp_path / f"a.{format_}")
    assert found["en"] == [text.strip() for text in rows["en"]]
    assert found["de"] == rows["de"]


def test_a_folder_a_pattern_and_a_list(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for index, rows in enumerate([{"en": ["a"], "de": ["b"]}, {"en": ["c"], "fr": ["d"]}]):
        pq.write_table(pa.table(rows), folder / f"train-0000{index}-of-00002.parquet")
    (folder / ".hidden.tsv").write_text("x")
    (folder / "README.md").write_text("x")
    expected = {"en": ["a", "c"], "de": ["b", None], "fr": [None, "d"]}
    assert texts(folder) == texts(folder / "*.parquet") == expected
    (tmp_path / "b.tsv").write_text("fr\ten\ne\tf\n")
    found = read([str(folder / "*-00000-*"), str(tmp_path / "b.tsv")])
    assert found.table.to_pydict() == {"en": ["a", "f"], "de": ["b", None], "fr": [None, "e"]}
    assert found.rows_read == 2


def test_without_a_header_line(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('How are you?\t7\tWie "geht es?\nno\t8\tnein\n')
    found = read(str(tmp_path / "a.tsv"), columns=["en", "score", "de"])
    assert found.table.to_pydict() == {
        "en": ["How are you?", "no"], "de": ['Wie "geht es?', "nein"],
    }  # fmt: skip
    (tmp_path / "b.tsv").write_text("en\tde\na\tb\n")
    found = read(str(tmp_path / "b.tsv"), columns=["en", "de"])
    assert found.table.to_pydict() == {"en": ["a"], "de": ["b"]}
    assert "has a header line" in found.notes[0]


def test_nested_rows_of_mixed_languages(tmp_path: Path) -> None:
    rows = [
        {"id": 0, "translation": {"en": "a", "zh": "b"}},
        {"id": 1, "translation": {"en": "c", "de": "d"}},
        {"id": 2, "translation": {"de": "e", "zh": None}},
    ]
    expected = {"en": ["a", "c", None], "zh": ["b", None, None], "de": [None, "d", "e"]}
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert texts(tmp_path / "a.jsonl") == expected
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = texts(tmp_path / "a.parquet")
    assert found == {name: expected[name] for name in found} and len(found) == 3


def test_a_language_may_begin_in_a_later_block(tmp_path: Path) -> None:
    rows: list[dict[str, str]] = [{"en": "a", "de": "b"} for _ in range(BLOCK_ROWS + 1)]
    rows += [{"fr": "c", "en": "d"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = texts(tmp_path / "a.jsonl")
    assert found["fr"] == [None] * (BLOCK_ROWS + 1) + ["c"]
    assert found["de"][-2:] == ["b", None]


def test_dates_and_numbers_are_texts_as_they_are_written(tmp_path: Path) -> None:
    rows = [{"en": f"2024-01-0{day}", "de": f"0{day}.10"} for day in range(1, 5)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, [*rows, {"en": "x", "de": "y"}])))
    assert texts(tmp_path / "a.jsonl")["en"][:4] == [row["en"] for row in rows]
    assert texts(tmp_path / "a.jsonl")["de"][:4] == [row["de"] for row in rows]


@pytest.mark.parametrize("format_", ["csv", "tsv", "jsonl"])
def test_a_column_of_numbers_is_no_language(tmp_path: Path, format_: str) -> None:
    columns = {"no": ["1", "2.5", "-3e4"], "en": ["a", "b", "c"], "de": ["d", "5", "f"]}
    (tmp_path / f"a.{format_}").write_bytes(encoded(format_, columns))
    found = read(str(tmp_path / f"a.{format_}"))
    assert found.table.column_names == ["en", "de"]
    assert found.ignored == {"no": "it holds numbers only"}


def test_id_is_a_row_number_or_indonesian_and_a_note_says_which(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,en,de\nsatu,one,eins\n")
    found = read(str(tmp_path / "a.csv"))
    assert found.table.column_names == ["en", "de"]
    assert "taken for row numbers, not for Indonesian" in found.notes[0]
    found = read(str(tmp_path / "a.csv"), languages=["id", "en"])
    assert found.table.to_pydict() == {"id": ["satu"], "en": ["one"]}
    assert "is read as Indonesian" in found.notes[0]


# A table of pairs: what is written, and what it must become.
PAIRS = "src,tgt,lang,score\nHello,Hallo,de,1\nYes,Oui,fr,2\nNo,,fr,3\n"
SPARSE = {"en": ["Hello", "Yes", "No"], "de": ["Hallo", None, None], "fr": [None, "Oui", None]}


def test_a_table_of_pairs(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(PAIRS)
    names = {"source": "src", "target": "tgt", "language": "lang"}
    found = read(str(tmp_path / "a.csv"), pairs=names)
    assert found.table.to_pydict() == SPARSE
    assert (found.rows_read, found.blank) == (3, {"fr": 1})
    assert found.ignored == {"score": "it is not named in data.pairs"}
    found = read(str(tmp_path / "a.csv"), pairs=names, languages=["de", "en"])
    assert found.table.to_pydict() == {"de": ["Hallo"], "en": ["Hello"]}
    assert found.rows_read == 3
    assert found.notes == ("2 rows in 'fr' are left out: it is not listed in data.languages",)


def test_pairs_whose_languages_are_fixed_or_both_in_columns(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("a\tb\nHello\tHallo\n")
    fixed = {"source": "a", "target": "b", "language": "de"}
    assert texts(tmp_path / "a.tsv", pairs=fixed) == {"en": ["Hello"], "de": ["Hallo"]}
    rows = [
        {"l1": "de", "l2": "fr", "s": "ja", "t": "oui"},
        {"l1": "fr", "l2": "en", "s": "non", "t": "no"},
    ]
    both = {"source": "s", "target": "t", "language": "l2", "source_language": "l1"}
    expected = {"de": ["ja", None], "fr": ["oui", "non"], "en": [None, "no"]}
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert texts(tmp_path / "a.jsonl", pairs=both) == expected
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert texts(tmp_path / "a.parquet", pairs=both) == expected


def test_a_name_that_a_person_gives_to_a_moses_file_is_a_language(tmp_path: Path) -> None:
    for name in ("id", "bavarian"):
        (tmp_path / name).write_text(f"{name}\n")
    files = {name: str(tmp_path / name) for name in ("bavarian", "id")}
    assert read(files).table.to_pydict() == {"bavarian": ["bavarian"], "id": ["id"]}


def test_languages_choose_among_moses_files(tmp_path: Path) -> None:
    for name in ("en", "de", "fr"):
        (tmp_path / f"x.{name}").write_text(f"{name}\n")
    found = read(str(tmp_path / "x.*"), languages=["fr", "en"])
    assert found.table.to_pydict() == {"fr": ["fr"], "en": ["en"]}
    assert list(found.ignored) == ["de"]
