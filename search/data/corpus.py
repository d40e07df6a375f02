"""Parallel sentences to train on and to validate with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.data.reading.interface import SplitName
from search.data.source import read_source
from search.problems import InputError, nearest
from search.settings import DataSettings


@dataclass(frozen=True)
class Corpus:
    """Aligned sentences.

    Attributes:
        columns: language -> one sentence a row, None where it is missing; every row has two
            sentences at least.
    """

    columns: dict[str, list[str | None]]

    @property
    def languages(self) -> list[str]:
        """The languages, in the order given."""
        return list(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def take(self, rows: Sequence[int]) -> Corpus:
        """Some of the rows, in the order given."""
        return Corpus({name: [column[r] for r in rows] for name, column in self.columns.items()})


def load_corpora(settings: DataSettings) -> tuple[Corpus, Corpus]:
    """Load the sentences to train on and those to validate with.

    No row to train on shares a sentence of any language with a row of the validation.

    Raises:
        InputError: a file or column is missing or unreadable, or too little is left.
    """
    languages = settings.languages
    if languages is not None:
        _check_languages(languages, settings.pivot)
    rng = np.random.default_rng(settings.seed)
    train = _load("train", settings, languages)
    if settings.validation is not None or settings.train.has_validation:
        validation = _load("validation", settings, train.languages)
    else:
        order = rng.permutation(len(train)).tolist()
        held = max(1, round(settings.holdout * len(train)))
        train, validation = train.take(order[held:]), train.take(order[:held])
    validation = _at_most(validation, settings.validation_rows, rng)
    train = _at_most(_without(train, validation), settings.train_rows, rng)
    for key, corpus in (("data.train", train), ("data.validation", validation)):
        _check_enough(key, corpus, settings.pivot)
    return train, validation


def load_corpus(settings: DataSettings) -> Corpus:
    """Load all the sentences of ``train``, none held out.

    Raises:
        InputError: as `load_corpora`.
    """
    if settings.languages is not None:
        _check_languages(settings.languages, settings.pivot)
    corpus = _load("train", settings, settings.languages)
    _check_enough("data.train", corpus, settings.pivot)
    return corpus


def _check_languages(languages: Sequence[str], pivot: str) -> None:
    if len(set(languages)) < 2:
        raise InputError.of(
            "data.languages", f"is {list(languages)}; it must name two languages or more"
        )
    if len(set(languages)) < len(languages):
        raise InputError.of(
            "data.languages", f"is {list(languages)}; it must name each language once"
        )
    if pivot not in languages:
        raise InputError.of(
            "data.pivot",
            f"is {pivot!r}; it must be among the languages, {', '.join(languages)}"
            f"{nearest(pivot, languages)}",
        )


def _load(split: SplitName, settings: DataSettings, languages: Sequence[str] | None) -> Corpus:
    """The rows of a split that have two languages or more."""
    table = read_source(settings, split, languages).table
    if languages is None:
        _check_languages(table.column_names, settings.pivot)
    corpus = Corpus({name: table[name].to_pylist() for name in table.column_names})
    full = [
        row
        for row in range(len(corpus))
        if sum(column[row] is not None for column in corpus.columns.values()) >= 2
    ]
    if not full:
        raise InputError.of(
            f"data.{split}", "has no row with two languages or more; it must have some"
        )
    return corpus.take(full)


def _at_most(corpus: Corpus, rows: int | None, rng: np.random.Generator) -> Corpus:
    if rows is None or rows >= len(corpus):
        return corpus
    return corpus.take(sorted(rng.permutation(len(corpus))[:rows].tolist()))


def _without(train: Corpus, validation: Corpus) -> Corpus:
    seen = {name: set(column) - {None} for name, column in validation.columns.items()}
    return train.take(
        [
            row
            for row in range(len(train))
            if not any(column[row] in seen[name] for name, column in train.columns.items())
        ]
    )


def _check_enough(key: str, corpus: Corpus, pivot: str) -> None:
    """Every language has a pair to train on, and validation pairs with the pivot."""
    if not len(corpus):
        raise InputError.of(
            key, "has no rows left; it must have some that are not in the other split"
        )
    for language, column in corpus.columns.items():
        others = [c for name, c in corpus.columns.items() if name != language]
        if key == "data.validation":
            others = [corpus.columns[pivot]] if language != pivot else others
        pairs = sum(
            sentence is not None and any(other[row] is not None for other in others)
            for row, sentence in enumerate(column)
        )
        if pairs == 0:
            partner = f"beside {pivot!r}" if key == "data.validation" else "with a translation"
            raise InputError.of(
                key, f"has no sentence in {language!r} {partner}; it must have some, or the "
                f"language must be left out of data.languages"
            )  # fmt: skip
