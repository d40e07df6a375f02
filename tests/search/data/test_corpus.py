"""Sentences in Arrow tables: the same as in plain lists."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from search.data.corpus import Corpus

COLUMNS: dict[str, list[str | None]] = {
    "en": ["a", "b", None, "c\u200b ", "", "b"],
    "de": ["x", None, "z", "cé", None, "b"],
}


@pytest.fixture(params=["whole", "in chunks", "a slice"])
def corpus(request: pytest.FixtureRequest) -> Corpus:
    """The same corpus, differently laid out in memory."""
    made = Corpus.of(COLUMNS)
    if request.param == "in chunks":
        return Corpus(pa.concat_tables([made.table.slice(0, 2), made.table.slice(2, 4)]))
    if request.param == "a slice":
        longer = Corpus.of({name: ["before", *column, "after"] for name, column in COLUMNS.items()})
        return Corpus(longer.table.slice(1, 6))
    return made


def test_a_corpus_is_what_its_lists_are(corpus: Corpus) -> None:
    assert corpus.table.to_pydict() == COLUMNS
    assert (corpus.languages, len(corpus)) == (["en", "de"], 6)
    assert corpus.texts("en") == ["a", "b", "c\u200b ", "", "b"]
    assert corpus.first_texts("de") == ["x", "b", "z", "cé", "", "b"]
    assert corpus.lookup(np.array([1, 0, 1]), np.array([3, 3, 0])) == ["cé", "c\u200b ", "x"]


def test_rows_can_be_taken_in_any_order_and_kept_by_a_mask(corpus: Corpus) -> None:
    assert corpus.take([2, 0]).table.to_pydict() == {"en": [None, "a"], "de": ["z", "x"]}
    assert corpus.take(slice(1, 3)).table.to_pydict() == {"en": ["b", None], "de": [None, "z"]}
    mask = np.array([False, True, False, False, False, True])
    assert corpus.keep(mask).table.to_pydict() == {"en": ["b", "b"], "de": [None, "b"]}


@pytest.mark.parametrize("size", [1, 2, 4, 6, 100])
def test_batches_are_all_sentences_with_their_rows(corpus: Corpus, size: int) -> None:
    for language, column in COLUMNS.items():
        batches = list(corpus.batches(language, size))
        assert all(len(rows) == len(texts) <= size for rows, texts in batches)
        found = {int(r): t for rows, texts in batches for r, t in zip(rows, texts, strict=True)}
        assert found == {row: text for row, text in enumerate(column) if text is not None}


def test_the_digest_is_of_the_sentences_and_not_of_their_layout(corpus: Corpus) -> None:
    assert corpus.digest == Corpus.of(COLUMNS).digest
    others = [
        COLUMNS | {"en": ["a", "b", None, "c", "", "b"]},
        COLUMNS | {"en": ["a", "b", "", "c\u200b ", None, "b"]},
        COLUMNS | {"en": ["ab", "", None, "c\u200b ", "", "b"]},
        {"en": COLUMNS["de"], "de": COLUMNS["en"]},
        {name: column[:5] for name, column in COLUMNS.items()},
        COLUMNS | {"ko": [None] * 6},
    ]
    digests = {Corpus.of(columns).digest for columns in others}
    assert len(digests | {corpus.digest}) == len(others) + 1


def test_numbers_tell_texts_of_a_language_apart(corpus: Corpus) -> None:
    numbers = corpus.text_numbers
    # What is blank has no number, and "b" of two languages has two.
    assert (numbers < 0).tolist() == [
        [False, False, True, False, True, False],
        [False, True, False, False, True, False],
    ]
    assert numbers[0, 1] == numbers[0, 5] != numbers[1, 5]
    assert len(np.unique(numbers[numbers >= 0])) == 7


def test_an_empty_corpus_is_a_corpus() -> None:
    corpus = Corpus.of({"en": [], "de": []})
    assert len(corpus) == 0
    assert corpus.text_numbers.shape == (2, 0)
    assert list(corpus.batches("en", 4)) == []
    assert corpus.texts("de") == corpus.first_texts("en") == []
    assert len(corpus.digest) == 64


def test_rows_that_are_kept_lie_in_one_piece() -> None:
    columns = {"en": ["a", "b", None, "d", "e"], "de": ["v", None, "x", "y", "z"]}
    whole = Corpus.of(columns)
    pieces = Corpus(pa.concat_tables([whole.table.slice(0, 2), whole.table.slice(2)]))
    kept = pieces.keep(np.array([True, False, True, True, False]))
    assert kept.table.to_pydict() == {"en": ["a", None, "d"], "de": ["v", "x", "y"]}
    assert [column.num_chunks for column in kept.table.columns] == [1, 1]
    assert (kept.digest, kept.lookup(np.array([0, 1]), np.array([2, 1]))) == (
        Corpus.of(kept.table.to_pydict()).digest,
        ["d", "x"],
    )
    none = pieces.keep(np.zeros(5, np.bool_))
    assert (len(none), none.languages) == (0, ["en", "de"])
