"""Sentences read, divided and counted; and one sentence where they are at fault."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search.data.corpus import Corpus
from search.data.loading import load_corpora, load_data
from search.data.settings import DataSettings
from search.settings.problems import InputError, Problem
from tests.search.conftest import data_settings

# NA, null and None are words in some language; commas, quotes and tabs are in sentences.
ROWS = {
    "en": ["one", "two", None, "NA", 'he said "five", twice', "six", "123", None],
    "de": ["eins", None, "drei", "null", "fünf", "sechs, dann", "None", "allein"],
    "zh": ["一", "二", "三", "nan", "五", None, "1.5", None],
}
TWO_OR_MORE = 7  # the last row has one sentence only


def write(file: Path, columns: dict[str, list[Any]]) -> Path:
    rows = list(zip(*columns.values(), strict=True))
    if file.suffix == ".parquet":
        pq.write_table(pa.table(columns), file)
    elif file.suffix == ".jsonl":
        lines = (json.dumps(dict(zip(columns, row, strict=True))) for row in rows)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    else:
        with file.open("w", encoding="utf-8", newline="") as out:
            if file.suffix == ".tsv":  # where quotation marks are text
                out.writelines("\t".join(t or "" for t in row) + "\n" for row in [columns, *rows])
            else:
                csv.writer(out).writerows([columns, *rows])
    return file


def numbered(languages: str, rows: range) -> dict[str, list[Any]]:
    return {name: [f"{name} {row}" for row in rows] for name in languages.split()}


def plain(corpus: Corpus) -> dict[str, list[str | None]]:
    columns: dict[str, list[str | None]] = corpus.table.to_pydict()
    return columns


def pair(tmp_path: Path, **changes: Any) -> DataSettings:
    """Settings with files of their own for both splits."""
    train = write(tmp_path / "train.csv", numbered("en de", range(20)))
    validation = write(tmp_path / "validation.csv", numbered("en de", range(50, 58)))
    values = {"train": str(train), "validation": str(validation)}
    return data_settings(**values | changes)


def problem(settings: DataSettings) -> Problem:
    with pytest.raises(InputError) as caught:
        load_corpora(settings)
    (found,) = caught.value.problems
    assert "\n" not in found.message
    return found


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "jsonl"])
def test_every_format_gives_the_same_sentences(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"train.{suffix}", ROWS)
    validation = write(tmp_path / f"validation.{suffix}", numbered("en de zh", range(3)))
    train, _ = load_corpora(data_settings(train=str(file), validation=str(validation)))
    assert plain(train) == {name: column[:TWO_OR_MORE] for name, column in ROWS.items()}
    assert train.languages == ["en", "de", "zh"]


def test_a_csv_file_as_spreadsheets_write_it(tmp_path: Path) -> None:
    # A byte order mark, a column without a name, one full of numbers, other line ends.
    file = tmp_path / "sheet.csv"
    file.write_bytes("\ufeffen,,de,year\r\n007,a,1e3,1999\r\nx,b,y,2000\r\n".encode())
    train, _ = load_corpora(pair(tmp_path, train=str(file), languages=["en", "de"]))
    assert plain(train) == {"en": ["007", "x"], "de": ["1e3", "y"]}


def test_blanks_are_missing_and_edges_are_cut(tmp_path: Path) -> None:
    file = write(tmp_path / "train.jsonl", {"en": [" a ", "  ", "c"], "de": ["x\n", "y", "\t z"]})
    train, _ = load_corpora(pair(tmp_path, train=str(file)))
    assert plain(train) == {"en": ["a", "c"], "de": ["x", "z"]}


def test_an_id_column_is_no_language_unless_it_is_asked_for(tmp_path: Path) -> None:
    columns = numbered("en id", range(9)) | {"de": [f"de {row}" for row in range(9)]}
    file = write(tmp_path / "train.csv", columns)
    validation = write(tmp_path / "validation.csv", numbered("en id de", range(20, 25)))
    settings = {"train": str(file), "validation": str(validation)}
    assert load_corpora(data_settings(**settings))[0].languages == ["en", "de"]
    chosen = data_settings(**settings, languages=["id", "en"])
    assert load_corpora(chosen)[0].languages == ["id", "en"]


def test_without_a_validation_a_share_of_the_rows_is_held_out(tmp_path: Path) -> None:
    file = write(tmp_path / "all.csv", numbered("en de", range(50)))
    settings = data_settings(train=str(file), holdout=0.2)
    train, validation = load_corpora(settings)
    assert (len(train), len(validation)) == (40, 10)
    assert sorted(train.texts("en") + validation.texts("en")) == sorted(
        f"en {row}" for row in range(50)
    )
    for corpus in (train, validation):  # the columns stay aligned
        assert [t[3:] for t in corpus.texts("en")] == [t[3:] for t in corpus.texts("de")]
    assert load_corpora(settings) == (train, validation)
    assert load_corpora(settings.model_copy(update={"seed": 1}))[1] != validation


@pytest.mark.parametrize("apart", [True, False])
def test_no_sentence_of_the_validation_is_trained_on(tmp_path: Path, apart: bool) -> None:
    # Row i shares its English with rows i + 10 and its German with rows i + 7, and so on.
    columns: dict[str, list[Any]] = {
        "en": [f"en {row % 10}" for row in range(60)],
        "de": [f"de {row % 35}" for row in range(60)],
        "ko": [None if row % 3 else f"ko {row}" for row in range(60)],
    }
    if apart:
        train = write(tmp_path / "train.csv", columns)
        validation = write(
            tmp_path / "validation.csv",
            {"en": ["en 3", "new"], "de": [None, "de 4"], "ko": ["ko 3", "ko new"]},
        )
        settings = data_settings(train=str(train), validation=str(validation))
    else:
        train = write(tmp_path / "all.csv", columns)
        settings = data_settings(train=str(train), holdout=0.1)
    trained, held = load_corpora(settings)
    for name in trained.languages:
        assert not set(trained.texts(name)) & set(held.texts(name))
    expected = {
        row
        for row in zip(*columns.values(), strict=True)
        if not any(t in held.texts(n) for n, t in zip(columns, row, strict=True) if t)
    }
    assert len(trained) == len(expected) > 0


def test_rows_are_cut_to_the_numbers_asked_for_in_their_order(tmp_path: Path) -> None:
    train, validation = load_corpora(pair(tmp_path, train_rows=7, validation_rows=3))
    assert (len(train), len(validation)) == (7, 3)
    numbers = [int(str(text).split()[1]) for text in train.texts("en")]
    assert numbers == sorted(numbers)
    assert load_corpora(pair(tmp_path, train_rows=7, seed=5))[0] != train


def test_the_built_in_corpus_has_the_rows_asked_for() -> None:
    settings = data_settings(
        train="builtin:cldr", languages=["ko", "en"], train_rows=30, validation_rows=10
    )
    train, validation = load_corpora(settings)
    assert (len(train), len(validation)) == (30, 10)
    assert train.languages == ["ko", "en"]
    assert load_corpora(settings) == (train, validation)


def test_the_built_in_corpus_may_validate_a_file(tmp_path: Path) -> None:
    settings = pair(tmp_path, validation="builtin:cldr", validation_rows=5)
    train, validation = load_corpora(settings)
    assert (train.languages, len(train), len(validation)) == (["en", "de"], 20, 5)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_missing_column_is_told_with_the_nearest(tmp_path: Path, split: str) -> None:
    file = write(tmp_path / "other.csv", numbered("en deu fr", range(9)))
    found = problem(pair(tmp_path, languages=["en", "de"], **{split: str(file)}))
    assert found.key == ("data.languages" if split == "train" else "data.validation")
    assert "has no column 'de'" in found.message
    assert "has en, deu, fr; did you mean 'deu'?" in found.message


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"languages": ["en"]}, "data.languages", "two languages or more"),
        ({"languages": []}, "data.languages", "two languages or more"),
        ({"languages": ["en", "de", "en"]}, "data.languages", "each language once"),
        ({"languages": ["en", "de"], "pivot": "fr"}, "data.pivot", "is 'fr'; it must be among"),
        ({"pivot": "eng"}, "data.pivot", "did you mean 'en'?"),
    ],
)
def test_wrong_languages_are_one_sentence(
    tmp_path: Path, changes: dict[str, Any], key: str, words: str
) -> None:
    found = problem(pair(tmp_path, **changes))
    assert found.key == key
    assert words in found.message


def test_a_file_with_one_language_is_told_so(tmp_path: Path) -> None:
    file = write(tmp_path / "one.csv", {"en": ["a", "b"], "id": ["1", "2"]})
    found = problem(pair(tmp_path, train=str(file)))
    assert found.key == "data.train"
    assert "one column only that is a language, 'en'" in found.message
    assert "row numbers" in found.message


def test_nothing_left_to_train_on_is_told(tmp_path: Path) -> None:
    file = write(tmp_path / "same.csv", numbered("en de", range(5)))
    found = problem(data_settings(train=str(file), validation=str(file)))
    assert found.key == "data.train"
    assert "share no sentence with the other split" in found.message


def test_a_language_without_pairs_is_told(tmp_path: Path) -> None:
    columns = numbered("en de", range(6)) | {"ko": [None] * 6}
    found = problem(pair(tmp_path, train=str(write(tmp_path / "a.jsonl", columns)),
                         validation=None, holdout=0.3))  # fmt: skip
    assert "no sentence in 'ko'" in found.message
    # To train, any translation will do; scores are taken against the pivot.
    columns = {"en": ["a", "b", None], "de": ["x", "y", "z"], "ko": [None, None, "k"]}
    both = write(tmp_path / "b.jsonl", columns)
    other = write(tmp_path / "c.csv", numbered("en de ko", range(4)))
    found = problem(data_settings(train=str(other), validation=str(both)))
    assert found.key == "data.validation"
    assert "no sentence in 'ko' beside 'en'" in found.message
    load_corpora(data_settings(train=str(both), validation=str(other)))


@pytest.mark.parametrize(
    ("changes", "held"),
    [({}, 1000), ({"validation_rows": 1150}, 1150), ({"holdout": 0.01}, 125),
     ({"validation_rows": 70}, 70)],
)  # fmt: skip
def test_no_more_than_2000_rows_are_held_out_unless_asked_for(
    tmp_path: Path, changes: dict[str, Any], held: int
) -> None:
    file = write(tmp_path / "all.tsv", numbered("en de", range(25_000)))
    train, validation = load_corpora(data_settings(train=str(file), **changes))
    assert (len(train), len(validation)) == (25_000 - 2 * held, held)


def test_of_one_sentence_with_many_translations_no_row_is_lost(tmp_path: Path) -> None:
    columns = {"en": [f"en {row // 4}" for row in range(120)], "de": [f"d{r}" for r in range(120)]}
    loaded = load_data(
        data_settings(train=str(write(tmp_path / "many.tsv", columns)), test_share=0)
    )
    assert (len(loaded.train), len(loaded.validation), loaded.notes) == (108, 12, ())


def test_of_a_chain_the_rows_lost_are_told(tmp_path: Path) -> None:
    columns = {
        "en": [f"en {(row + 1) // 2}" for row in range(101)],
        "de": [f"de {row // 2}" for row in range(101)],
    }
    loaded = load_data(
        data_settings(train=str(write(tmp_path / "chain.tsv", columns)), test_share=0)
    )
    lost = loaded.counts.places["en"]["leaked"]
    assert len(loaded.validation) == 10
    assert 1 <= lost <= 2
    assert len(loaded.train) == 91 - lost
    (note,) = loaded.notes
    assert f"10 are held out and {lost} that share one with these left out" in note


def test_each_pair_again_with_something_invisible_is_dropped(tmp_path: Path) -> None:
    plain_rows = numbered("en de", range(40))
    again = {name: [f"\u200b{text}" for text in column] for name, column in plain_rows.items()}
    both = {name: column + again[name] for name, column in plain_rows.items()}
    loaded = load_data(data_settings(train=str(write(tmp_path / "both.tsv", both))))
    assert (len(loaded.train), len(loaded.validation)) == (36, 4)
    assert loaded.counts.places["de"]["duplicate"] == 40
    # As a validation of its own, every sentence of it is a leak.
    settings = data_settings(
        train=str(write(tmp_path / "a.tsv", numbered("en de", range(50)))),
        validation=str(write(tmp_path / "b.tsv", again)),
    )
    loaded = load_data(settings)
    assert (len(loaded.train), loaded.counts.places["en"]["leaked"]) == (10, 40)
    # The texts themselves are as given.
    assert all(text.startswith("\u200b") for text in loaded.validation.texts("en"))


def test_a_validation_of_its_own_drops_its_repetitions_and_counts_them(tmp_path: Path) -> None:
    columns = numbered("en de", range(50, 55))
    twice = {name: column * 2 for name, column in columns.items()}
    file = write(tmp_path / "twice.csv", twice)
    loaded = load_data(pair(tmp_path, validation=str(file)))
    assert len(loaded.validation) == 5
    assert loaded.counts.places["de"]["validation"] == loaded.counts.places["de"]["duplicate"] == 5


def test_one_row_cannot_be_divided(tmp_path: Path) -> None:
    file = write(tmp_path / "one.csv", numbered("en de", range(1)))
    with pytest.raises(InputError, match=r"data.train: has one row that can be used"):
        load_data(data_settings(train=str(file)))


def test_what_is_said_of_rows_that_are_held_out_names_the_file(tmp_path: Path) -> None:
    columns = numbered("en de gu", range(60))
    cases = [
        (columns | {"gu": [""] * 60}, r"^data.train: has no sentence in 'gu' beside 'en'; it must"),
        (columns | {"en": [""] * 60}, r"^data.train: has no sentence in the pivot, 'en'; it must"),
        # All rows with the language are one group, too large to be held out.
        (columns | {"gu": ["same"] * 40 + [""] * 20}, r"'gu' beside 'en' among the rows that are"),
        (columns | {"gu": ["same"] * 60}, r"has 60 rows, each of which shares a sentence with"),
        ({name: ["same"] * 60 for name in columns}, r"one row .* besides 59 that repeat another;"),
    ]
    for number, (given, message) in enumerate(cases):
        file = write(tmp_path / f"{number}.csv", given)
        with pytest.raises(InputError, match=message):
            load_data(data_settings(train=str(file)))
    file = write(tmp_path / "all.csv", columns)
    settings = data_settings(train=str(file), test=str(file))
    with pytest.raises(InputError, match="no row that can be used, besides 60 that share a"):
        load_data(settings)
