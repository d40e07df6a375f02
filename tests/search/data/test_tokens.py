"""Tokenised sentences: cut where they should be, and numbered by what they mean."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from components.base import BaseConfig, load_skeleton
from components.languages import FamilyTable
from search.data import tokens
from search.data.corpus import Corpus
from search.data.tokens import Sentences, TokenisedCorpus, families_of, tokenise
from search.runtime.store import Store

COLUMNS: dict[str, list[str | None]] = {
    "en": ["a", None, "abc", "ab"],
    "de": [None, "xy", "x", "wxyz"],
}


def letters(sentences: list[str]) -> list[list[int]]:
    return [[ord(letter) for letter in sentence] for sentence in sentences]


@pytest.fixture
def corpus() -> TokenisedCorpus:
    return tokenise(Corpus.of(COLUMNS), "de", letters)


def spelt(corpus: TokenisedCorpus, sentences: Sentences) -> list[str]:
    tokens = corpus.tokens(sentences)
    ids, offsets = tokens.ids_T.tolist(), tokens.offsets.tolist()
    return ["".join(map(chr, ids[start:end])) for start, end in pairwise(offsets)]


def test_every_sentence_gets_its_own_tokens(corpus: TokenisedCorpus) -> None:
    assert (corpus.languages, corpus.pivot) == (("en", "de"), 1)
    assert corpus.lengths.tolist() == [[1, 0, 3, 2], [0, 2, 1, 4]]
    assert corpus.counts == [3, 3]
    present = corpus.present()
    assert spelt(corpus, present) == ["a", "abc", "ab", "xy", "x", "wxyz"]
    assert present.language.tolist() == [0, 0, 0, 1, 1, 1]
    assert present.row.tolist() == [0, 2, 3, 1, 2, 3]


def test_any_order_and_repetition_of_sentences_can_be_packed(corpus: TokenisedCorpus) -> None:
    chosen = Sentences(np.array([1, 0, 1, 0]), np.array([3, 2, 3, 0]))
    assert spelt(corpus, chosen) == ["wxyz", "abc", "wxyz", "a"]
    tokens = corpus.tokens(chosen)
    assert tokens.ids_T.dtype == tokens.offsets.dtype == torch.int64
    assert spelt(corpus, Sentences.join([chosen[1:2], chosen[3:]])) == ["abc", "a"]


def test_a_corpus_of_nothing_has_no_tokens() -> None:
    corpus = tokenise(Corpus.of({"en": [], "de": []}), "en", letters)
    assert corpus.counts == [0, 0]
    assert len(corpus.present()) == 0


def test_the_tokenizer_sees_a_bounded_number_of_sentences_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[list[str]] = []

    def note(sentences: list[str]) -> list[list[int]]:
        calls.append(sentences)
        return letters(sentences)

    whole = tokenise(Corpus.of(COLUMNS), "en", note)
    assert calls == [["a", "abc", "ab"], ["xy", "x", "wxyz"]]
    calls.clear()
    monkeypatch.setattr(tokens, "SENTENCES_A_CALL", 3)
    parts = tokenise(Corpus.of(COLUMNS), "en", note)
    assert calls == [["a", "abc"], ["ab"], ["xy", "x"], ["wxyz"]]
    assert parts.ids.tolist() == whole.ids.tolist()
    assert parts.starts.tolist() == whole.starts.tolist()


def test_the_digest_tells_texts_and_cuts_apart() -> None:
    def digest(*sentences: str) -> str:
        return tokenise(Corpus.of({"en": list(sentences), "de": ["x", "y"]}), "en", letters).digest

    assert digest("ab", "c") == digest("ab", "c")
    assert len({digest("ab", "c"), digest("a", "bc"), digest("ab", "d")}) == 3


def same(columns: dict[str, list[str | None]]) -> list[list[bool]]:
    """`is_same` of every sentence with every other."""
    corpus = tokenise(Corpus.of(columns), next(iter(columns)), letters)
    found: list[list[bool]] = corpus.is_same(corpus.present(), corpus.present()).tolist()
    return found


def slow_same(columns: dict[str, list[str | None]]) -> list[list[bool]]:
    """The same: some row holds the texts of both."""
    names = list(columns)
    rows = list(zip(*columns.values(), strict=True))
    present = [(n, row[n]) for n in range(len(names)) for row in rows if row[n] is not None]
    return [
        [any(row[a] == text and row[b] == other for row in rows) for b, other in present]
        for a, text in present
    ]


def test_sentences_are_the_same_if_a_row_holds_both_and_nothing_is_passed_on() -> None:
    # 0 and 1 share their English, 1 and 2 their German.
    columns: dict[str, list[str | None]] = {"en": ["a", "a", "b"], "de": ["v", "w", "w"]}
    assert same(columns) == [
        #  a      a      b      v      w      w
        [True, True, False, True, True, True],
        [True, True, False, True, True, True],
        [False, False, True, False, True, True],
        [True, True, False, True, False, False],
        [True, True, True, False, True, True],
        [True, True, True, False, True, True],
    ]


def test_what_is_missing_and_what_other_languages_spell_alike_is_not_the_same() -> None:
    columns: dict[str, list[str | None]] = {"en": [None, None, "x"], "de": ["x", "y", "z"]}
    assert same(columns) == slow_same(columns)
    assert not same(columns)[0][1]


@pytest.mark.parametrize("texts", [3, 12, 60])
def test_is_same_equals_a_slow_loop_over_all_rows(texts: int) -> None:
    rng = np.random.default_rng(texts)
    columns: dict[str, list[str | None]] = {
        name: [None if n == 0 else f"{n}" for n in rng.integers(0, texts, 40).tolist()]
        for name in ("en", "de", "ko")
    }
    found = same(columns)
    assert found == slow_same(columns)
    assert found == np.transpose(found).tolist()
    corpus = tokenise(Corpus.of(columns), "en", letters)
    left, right = corpus.present()[5:30], corpus.present()[::-3]
    whole = corpus.is_same(left, right)
    assert whole.tolist() == np.array(found)[5:30, ::-3].tolist()
    in_parts = corpus.is_same_in_parts(left, right)
    assert (
        np.concatenate([in_parts(slice(0, 9)), in_parts(slice(9, 99))]).tolist() == whole.tolist()
    )
    nobody = corpus.present()[:0]
    assert corpus.is_same(nobody, right).shape == (0, len(right))
    assert corpus.is_same(left, nobody).shape == (25, 0)


def test_texts_are_compared_as_they_are_seen() -> None:
    columns: dict[str, list[str | None]] = {
        "en": ["caf\u00e9 a", "cafe\u0301\u200b  a"],
        "de": ["x", "y"],
    }
    corpus = tokenise(Corpus.of(columns), "en", letters)
    assert corpus.text[0, 0] == corpus.text[0, 1]
    assert corpus.lengths[0].tolist() == [6, 9]  # but trained on as they stand


GREETINGS: dict[str, list[str | None]] = {
    "gujarati": [None, "નમસ્તે", "abc પાણી અને આગ"],
    "zh-Hans": ["你好", "水", None],
    "ru": ["abc", "def", "ghi"],  # a code goes before what is written
    "klingon": ["Здравствуйте", "вода", "огонь"],
    "el": ["νερό", "φωτιά", "γη"],
    "en": ["hello", "water", "fire"],
    "nothing": [None, None, "123"],
}


def test_a_language_has_the_family_of_its_code_or_else_of_its_script() -> None:
    corpus = tokenise(Corpus.of(GREETINGS), "en", letters)
    assert dict(zip(corpus.languages, corpus.family_of_language, strict=True)) == {
        "gujarati": "indic",
        "zh-Hans": "cjk",
        "ru": "cyrillic",
        "klingon": "cyrillic",
        "el": "other",
        "en": "latin",
        "nothing": "other",
    }
    assert corpus.families == ("cjk", "cyrillic", "indic", "latin", "other")


def test_a_table_of_ones_own_goes_before_both() -> None:
    table = FamilyTable({"zh": "chinese", "Gujr": "gujr", "Latn": "western", "el": "western"})
    corpus = tokenise(Corpus.of(GREETINGS), "en", letters, table)
    assert corpus.family_of_language == (
        "gujr", "chinese", "cyrillic", "cyrillic", "western", "western", "other"
    )  # fmt: skip
    assert corpus.families == ("chinese", "cyrillic", "gujr", "other", "western")


def test_the_script_is_that_of_all_a_column_says_not_of_its_first_sentence() -> None:
    columns: dict[str, list[str | None]] = {"x1": [None, "OK", "да нет да нет"], "en": ["a"] * 3}
    assert families_of(Corpus.of(columns), FamilyTable()) == ("cyrillic", "latin")


def test_each_sentence_has_the_index_of_its_languages_family() -> None:
    corpus = tokenise(Corpus.of(GREETINGS), "en", letters)
    chosen = Sentences(np.array([6, 0, 5, 3, 1, 0]), np.array([2, 1, 0, 0, 1, 2]))
    family_B = corpus.family(chosen)
    assert family_B.dtype == torch.int64
    names = [corpus.families[index] for index in family_B.tolist()]
    assert names == ["other", "indic", "latin", "cyrillic", "cjk", "indic"]


def test_stored_tokens_are_those_that_were_made(tmp_path: Path) -> None:
    """A later search finds them, mapped into memory, and does not tokenise again."""
    calls: list[int] = []

    def counted(texts: list[str]) -> list[list[int]]:
        calls.append(len(texts))
        return letters(texts)

    store = Store(tmp_path, 1e9)
    plain = tokenise(Corpus.of(COLUMNS), "de", letters)
    first, again = (
        tokenise(Corpus.of(COLUMNS), "de", counted, stored=(store, "letters")) for _ in range(2)
    )
    assert len(calls) == len(COLUMNS)
    for made in (first, again):
        assert (made.languages, made.pivot) == (plain.languages, plain.pivot)
        assert made.family_of_language == plain.family_of_language
        for name in ("ids", "starts", "text"):
            got, want = getattr(made, name), getattr(plain, name)
            assert got.dtype == want.dtype
            assert np.array_equal(got, want)
    (entry,) = store.entries()
    assert entry.what.startswith("tokens")


def test_other_sentences_or_another_tokenizer_are_stored_apart(tmp_path: Path) -> None:
    store = Store(tmp_path, 1e9)
    name, column = next(iter(COLUMNS.items()))
    changed = COLUMNS | {name: [*column[:-1], "another"]}
    gap = COLUMNS | {name: [*column[:-1], None]}
    for columns in (COLUMNS, changed, gap):
        for tokenization in ("letters", "others"):
            tokenise(Corpus.of(columns), "de", letters, stored=(store, tokenization))
    assert len(store.entries()) == 6


def test_an_empty_corpus_is_stored_too(tmp_path: Path) -> None:
    store = Store(tmp_path, 1e9)
    for _ in range(2):
        made = tokenise(Corpus.of({"en": [], "de": []}), "en", letters, stored=(store, "letters"))
        assert made.lengths.shape == (2, 0)


def test_what_ids_depend_on() -> None:
    """The same for the same tokenizer, whatever it was used for; another for any other."""
    config = BaseConfig(model="builtin:tiny", max_length=32)
    first, used, shorter, other = (load_skeleton(config) for _ in range(4))
    used.tokenize(["some words"])
    shorter.max_length = 31
    other.tokenizer.add_tokens(["another"])
    assert first.tokenization == used.tokenization
    assert len({base.tokenization for base in (first, shorter, other)}) == 3
