"""Rows put aside for the test: which, how many, and that they share no sentence with others."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path

import pytest

from search.data.corpus import Corpus
from search.data.loading import LoadedData, load_data
from search.settings.problems import InputError
from tests.search.conftest import data_settings


def write(file: Path, rows: range, shared: int = 1) -> str:
    """Rows of German and English; so many in a row have the same English sentence."""
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows(
            [["en", "de"], *([f"en {row // shared}", f"de {row}"] for row in rows)]
        )
    return str(file)


def parts(loaded: LoadedData) -> list[Corpus]:
    assert loaded.test is not None
    return [loaded.train, loaded.validation, loaded.test]


def refuse_shared(loaded: LoadedData) -> None:
    for one, other in combinations(parts(loaded), 2):
        for language in ("en", "de"):
            assert not set(one.texts(language)) & set(other.texts(language))


@pytest.mark.parametrize("shared", [1, 4])
def test_half_of_the_rows_held_out_are_put_aside(tmp_path: Path, shared: int) -> None:
    loaded = load_data(data_settings(train=write(tmp_path / "all.csv", range(2000), shared)))
    assert [len(part) for part in parts(loaded)] == [1800, 100, 100]
    refuse_shared(loaded)
    assert loaded.counts.places["de"]["test"] == 100


def test_half_of_a_validation_file_is_put_aside_and_no_row_is_trained_on(tmp_path: Path) -> None:
    settings = data_settings(
        train=write(tmp_path / "train.csv", range(500), 3),
        validation=write(tmp_path / "validation.csv", range(400, 640), 3),
    )
    loaded = load_data(settings)
    train, validation, test = (len(part) for part in parts(loaded))
    assert abs(validation - test) <= 3 and validation + test == 240
    assert train == 399  # rows 399 to 499 share a sentence with those held out
    refuse_shared(loaded)
    assert load_data(settings) == loaded


def test_a_file_of_its_own_for_the_test_shares_no_sentence_with_the_others(tmp_path: Path) -> None:
    settings = data_settings(
        train=write(tmp_path / "train.csv", range(500), 2),
        test=write(tmp_path / "test.csv", range(490, 560), 2),
        test_rows=40,
    )
    loaded = load_data(settings)
    assert len(parts(loaded)[2]) == 40
    refuse_shared(loaded)
    other = settings.model_copy(update={"test_rows": None})
    assert len(parts(load_data(other))[2]) == 70


def test_few_rows_are_left_to_the_validation_and_that_is_said(tmp_path: Path) -> None:
    loaded = load_data(data_settings(train=write(tmp_path / "all.csv", range(300))))
    assert loaded.test is None and len(loaded.validation) == 30
    (note,) = loaded.notes
    assert "30 rows are too few to put some aside for a test (100)" in note


def test_none_are_put_aside_where_none_are_asked_for(tmp_path: Path) -> None:
    file = write(tmp_path / "all.csv", range(2000))
    loaded = load_data(data_settings(train=file, test_share=0))
    assert (loaded.test, len(loaded.validation), loaded.notes) == (None, 200, ())


def test_of_the_built_in_corpus_the_validation_is_the_same_with_a_test_and_without() -> None:
    settings = data_settings(
        train="builtin:cldr", languages=["en", "de"], train_rows=60, validation_rows=30,
        test_rows=50,
    )  # fmt: skip
    loaded = load_data(settings)
    assert [len(part) for part in parts(loaded)] == [60, 30, 50]
    refuse_shared(loaded)
    without = load_data(settings.model_copy(update={"test_share": 0.0}))
    assert without.test is None and without.validation == loaded.validation


def test_a_test_without_a_pair_of_a_language_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("en,de,ko\na,,b\n", encoding="utf-8")
    settings = data_settings(
        train=write(tmp_path / "train.csv", range(50)), test=str(tmp_path / "test.csv")
    )
    with pytest.raises(InputError, match=r"data\.test"):
        load_data(settings)
