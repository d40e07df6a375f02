"""A source at fault is one sentence: what, where and the cure."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search.data.source import read_source
from search.settings.problems import InputError
from tests.search.conftest import data_settings

Make = Callable[[Path], Any]


def holds(name: str, data: bytes | str) -> Make:
    """A file with given bytes."""

    def make(folder: Path) -> str:
        file = folder / name
        file.write_bytes(data.encode() if isinstance(data, str) else data)
        return str(file)

    return make


def parquet(name: str, columns: dict[str, Any], cut: int = 0) -> Make:
    def make(folder: Path) -> str:
        file = folder / name
        pq.write_table(pa.table(columns), file)
        if cut:
            file.write_bytes(file.read_bytes()[:-cut])
        return str(file)

    return make


def repeated(folder: Path) -> str:
    columns = [pa.array([text]) for text in "abc"]
    pq.write_table(pa.Table.from_arrays(columns, ["en", "de", "de"]), folder / "a.parquet")
    return str(folder / "a.parquet")


def link(folder: Path) -> str:
    (folder / "link.tsv").symlink_to(folder / "gone.tsv")
    return str(folder / "link.tsv")


def mixed(folder: Path) -> str:
    (folder / "a.tsv").write_text("en\tde\na\tb\n")
    (folder / "b.csv").write_text("en,de\na,b\n")
    return str(folder)


def splits(folder: Path) -> str:
    for name in ("train-0.tsv", "test-0.tsv"):
        (folder / name).write_text("en\tde\na\tb\n")
    return str(folder)


def moses(english: str, german: str) -> Make:
    def make(folder: Path) -> dict[str, str]:
        (folder / "a.en").write_text(english)
        (folder / "a.de").write_text(german)
        return {"en": str(folder / "a.en"), "de": str(folder / "a.de")}

    return make


HEAD = "en\tde\n"
SENTENCES = "How are you?\tWie geht es?\nI am well.\tMir geht es gut.\n"
PAIRS = {"source": "src", "target": "tgt", "language": "lang"}

# What is read -> settings beside it, and words of the sentence.
BAD: dict[str, tuple[Make, dict[str, Any], str]] = {
    "no such file": (lambda folder: str(folder / "no.csv"), {}, "no.csv', which does not exist"),
    "dangling link": (link, {}, "link.tsv', a symbolic link to"),
    "device": (lambda _: "/dev/null", {}, "a device or pipe; it must be a file"),
    "name too long": (lambda _: "/" + "a" * 5000 + ".tsv", {}, "cannot be read: File name too"),
    "unknown ending": (holds("a.txt", "x"), {}, "must end in one of .parquet, .csv, .tsv, .jsonl"),
    "empty folder": (str, {}, "which holds no file that ends in one of"),
    "folder of several formats": (mixed, {}, "several formats, .csv, .tsv; name those to read"),
    "folder of several splits": (splits, {}, "several splits"),
    "pattern without files": (lambda f: f"{f}/*.tsv", {}, "a pattern that no file matches"),
    "another built in": (lambda _: "builtin:news", {}, "built in is only builtin:cldr"),
    "empty csv": (holds("a.csv", ""), {}, "a.csv' is empty"),
    "empty tsv": (holds("a.tsv", ""), {}, "a.tsv' is empty"),
    "blank tsv": (holds("a.tsv", "\n \n"), {}, "a.tsv' is empty"),
    "empty jsonl": (holds("a.jsonl", ""), {}, "a.jsonl' is empty"),
    "empty parquet": (holds("a.parquet", ""), {}, "a.parquet' is empty"),
    "empty gz": (holds("a.tsv.gz", gzip.compress(b"")), {}, "is empty"),
    "header only, csv": (holds("a.csv", "en,de\n"), {}, "a header line and no rows"),
    "header only, tsv": (holds("a.tsv", HEAD), {}, "a header line and no rows"),
    "no rows, parquet": (parquet("a.parquet", {"en": [], "de": []}), {}, "holds no rows"),
    "text named parquet": (holds("a.parquet", HEAD + SENTENCES), {}, "is no parquet file"),
    "cut parquet": (parquet("a.parquet", {"en": ["a"], "de": ["b"]}, cut=20), {}, "is cut off"),
    "parquet named tsv": (holds("a.tsv", b"PAR1\x15\x04"), {}, "must end in .parquet"),
    "spreadsheet named csv": (holds("a.csv", b"PK\x03\x04abc"), {}, "a spreadsheet"),
    "gz without its ending": (holds("a.tsv", gzip.compress(b"en\tde")), {}, "must end in .gz"),
    "text named gz": (holds("a.tsv.gz", HEAD), {}, "is not compressed by gzip"),
    "cut gz": (
        holds("a.tsv.gz", gzip.compress((HEAD + SENTENCES * 99).encode())[:-12]), {},
        "cut off or damaged",
    ),
    "UTF-16": (holds("a.tsv", (HEAD + SENTENCES).encode("utf-16")), {}, "seems to be UTF-16"),
    "UTF-16 without a mark": (holds("a.csv", "en,de\na,b\n".encode("utf-16-le")), {}, "UTF-16"),
    "Latin-1": (holds("a.tsv", "en\tde\nme\tich\nnew\tfür\n".encode("latin-1")), {},
                "line 3: is no UTF-8 text (byte 0xfc at column 6)"),
    "NUL": (holds("a.tsv", HEAD + SENTENCES + "a\0\tb\n"), {}, "line 4: holds a NUL byte"),
    "key twice in JSON": (holds("a.jsonl", '{"en": "a", "de": "b", "de": "c"}'), {},
                          "line 1: has the key 'de' 2 times; it must have it once"),
    "key twice in an array": (holds("a.json", '[{"en": "a", "de": "b", "de": "c"}]'), {},
                              "line 1: has the key 'de' 2 times"),
    "language beside the translation": (
        holds("a.jsonl", '{"translation": {"en": "a", "de": "b"}, "de": "c"}'), {},
        "line 1: has 'de' both beside the translation and in it",
    ),
    "column twice, parquet": (repeated, {}, "has 2 columns named 'de'; it must have one"),
    "column beside the translation, parquet": (
        parquet("a.parquet", {"translation": [{"en": "a", "de": "b"}], "de": ["c"]}), {},
        "has 'de' both as a column and in the translation",
    ),
    "endless number": (holds("a.jsonl", '{"en": "a", "de": ' + "1" * 5000 + "}"), {},
                       "line 1: is no JSON: Exceeds the limit"),
    "unknown time zone": (
        parquet("a.parquet", {"en": ["a"], "de": pa.array([0], pa.timestamp("ms", "No/Where"))}),
        {"languages": ["en", "de"]}, "row 1: holds 'a timestamp[ms, tz=No/Where]'",
    ),
    "NUL in JSON": (holds("a.jsonl", '{"en": "a\\u0000", "de": "b"}'), {},
                    "line 1: the column 'en' holds a NUL"),
    "carriage returns": (holds("a.tsv", "en\tde\ra\tb\rc\td\r"), {}, "carriage returns alone"),
    "long row, tsv": (holds("a.tsv", HEAD + "a\tb\nc\td\te\n"), {}, "line 3: has 3 cells"),
    "short row, tsv": (holds("a.tsv", HEAD + "a\tb\nc\n"), {}, "line 3: has 1 cells"),
    "long row, csv": (holds("a.csv", "en,de\nYes,Ja\nNo, sir,Nein\n"), {}, "line 3: has 3 cells"),
    "short row, csv": (holds("a.csv", "en,de\nYes\n"), {}, "line 2: has 1 cells, but the header"),
    "open quote": (holds("a.csv", 'en,de\nx,y\n"a,b\nc,d\n'), {}, "line 3: a quotation mark opens"),
    "two open quotes": (holds("a.csv", 'en,de\n"a,b\nc,d\ne,f\n"g,h\n'), {}, "line 2: a quotation"),
    "a quote that takes in rows": (
        holds("a.csv", 'en,de\n"a,b\nc,d\ne",f\n'), {}, "line 2: a quotation mark opens a field",
    ),
    "a quote that takes in a row": (
        holds("a.csv", 'en,de\n"a,b\nc",d\n'), {}, "line 2: a quotation mark opens a field",
    ),
    "no header, tsv": (holds("a.tsv", SENTENCES), {}, "data.columns: [en, de]"),
    "no header, csv": (holds("a.csv", "How are you?,Wie geht es?\n"), {}, "data.columns: [en, de]"),
    "too few columns named": (holds("a.tsv", "a\tb\tc\n"), {"columns": ["en", "de"]},
                              "has 3 cells, but data.columns names 2"),
    "commas in a tsv": (holds("a.tsv", "en,de\na,b\n"), {}, "holds no tab; its columns seem to be "
                        "separated by a comma: name it .csv"),
    "a name twice": (holds("a.csv", "en,de,en\na,b,c\n"), {}, "names the column 'en' twice"),
    "no language": (holds("a.csv", "score,url\n1,x\n"), {}, "has no column that is a language"),
    "one language": (holds("a.csv", "en,score\na,b\n"), {}, "has one column only"),
    "numbers that are listed": (holds("a.csv", "en,de\na,\nb,2\nc,3\n"),
                                {"languages": ["en", "de"]}, "line 3: the column 'de' holds"),
    "numbers, jsonl": (holds("a.jsonl", '{"en": "a", "de": "b"}\n{"en": 5, "de": "c"}\n'), {},
                       "line 2: holds 5 in the column 'en'"),
    "a list, jsonl": (holds("a.jsonl", '{"en": "a", "de": ["b"]}\n'), {}, "line 1: holds ['b']"),
    "numbers, parquet": (parquet("a.parquet", {"en": ["a", "b"], "de": [None, 2]}),
                         {"languages": ["en", "de"]}, "row 2: holds 2 in the column 'de'"),
    "lists, parquet": (parquet("a.parquet", {"en": ["a"], "de": [["b"]]}), {},
                       "row 1: holds ['b']"),
    "bad line, jsonl": (holds("a.jsonl", '{"en": "a", "de": "b"}\n{"en": \n'), {},
                        "line 2: is no JSON"),
    "no object, jsonl": (holds("a.jsonl", '{"en": "a", "de": "b"}\n5\n'), {}, "line 2: holds 5"),
    "bad element, json": (holds("a.json", '[\n{"en": "a", "de": "b"},\n{"en"}\n]'), {},
                          "line 3: is no JSON"),
    "open array": (holds("a.json", '[{"en": "a", "de": "b"}'), {}, "the array does not go on"),
    "deep nesting": (holds("a.jsonl", '{"en": ' + "[" * 100_000), {}, "line 1: is no JSON"),
    "half a character": (holds("a.jsonl", '{"en": "\\ud800", "de": "b"}'), {}, "surrogate"),
    "too long": (holds("a.tsv", HEAD + "a\tb\n" + "x" * 1_000_001 + "\ty\n"), {},
                 "line 3: the column 'en' holds 1,000,001 characters"),
    "unequal Moses": (moses("a\nb\nc\n", "x\ny\n"), {}, "a.en' has 3 lines and"),
    "empty Moses": (moses("", ""), {}, "are empty"),
    "one side of Moses": (holds("a.en", "x"), {}, "as {en: a.en, de: a.de}"),
    "columns with jsonl pairs": (moses("a\n", "b\n"), {"columns": ["en", "de"]}, "has no effect"),
    "pairs: no such column": (holds("a.csv", "src,tgt,to\na,b,de\n"), {"pairs": PAIRS},
                              "neither a column nor the code of a language"),
    "pairs: no language": (holds("a.csv", "src,tgt,lang\na,b,de\nc,d,german\n"), {"pairs": PAIRS},
                           "line 3: holds 'german' in the column 'lang'"),
    "pairs: one language": (holds("a.csv", "src,tgt,lang\na,b,en\n"), {"pairs": PAIRS},
                            "line 2: both sentences are in 'en'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_source_at_fault_is_one_sentence(
    tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    make, settings, words = BAD[case]
    data = data_settings(train=make(tmp_path), **settings)
    with pytest.raises(InputError) as caught:
        read_source(data, "train", data.languages)
    (found,) = caught.value.problems
    assert found.key.startswith("data.")
    assert words in found.message
    assert "\n" not in found.message
    assert capfd.readouterr() == ("", "")  # no noise of a library


@pytest.mark.parametrize("name", ["../../x", "[/x]", "", "a b", "é", "x" * 99])
def test_names_of_languages_are_plain(name: str) -> None:
    with pytest.raises(ValueError, match="the name of a language must be letters"):
        data_settings(train="a.tsv", languages=["en", name])
    with pytest.raises(ValueError, match="the name of a language must be letters"):
        data_settings(train={"en": "a.en", name: "b"})
