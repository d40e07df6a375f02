"""Parallel sentences from a file, the hub or the built-in corpus."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from search.data import cldr
from search.problems import InputError, nearest
from search.settings import DataSettings

if TYPE_CHECKING:
    import datasets

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".parquet": ("parquet", {}),
    ".csv": ("csv", {"sep": ",", "keep_default_na": False, "na_values": [""]}),
    ".tsv": ("csv", {"sep": "\t", "keep_default_na": False, "na_values": [""]}),
    ".jsonl": ("json", {}),
}
BUILTIN = "builtin:cldr"
BUILTIN_ROWS = {"train": 4000, "validation": 200}


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
    if settings.train == BUILTIN and settings.validation in (None, BUILTIN):
        train, validation = (_builtin(settings, split) for split in ("train", "validation"))
    else:
        train = _load(settings.train, "train", settings)
        if settings.validation is not None:
            chosen = settings.model_copy(update={"languages": train.languages})
            validation = _load(settings.validation, "validation", chosen)
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
    corpus = _load(settings.train, "train", settings)
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


def _builtin(settings: DataSettings, split: Any) -> Corpus:
    rows = settings.train_rows if split == "train" else settings.validation_rows
    languages = settings.languages or cldr.LANGUAGES
    _check_languages(languages, settings.pivot)
    try:
        columns = cldr.phrases(split, rows or BUILTIN_ROWS[split], settings.seed, languages)
    except ValueError as error:
        raise InputError.of(f"data.{split}", str(error)) from error
    return Corpus({name: list(column) for name, column in columns.items()})


def _load(name: str, split: str, settings: DataSettings) -> Corpus:
    key = f"data.{split}"
    if name == BUILTIN:
        return _builtin(settings, split)
    if name.startswith("builtin:"):
        raise InputError.of(key, f"is {name!r}; built in is only {BUILTIN}")
    table = _open(key, name, split)
    languages = settings.languages
    if languages is None:
        # Named "id", a column numbers the rows far more often than it is Indonesian.
        languages = [c for c in table.column_names if c != "id"]
        _check_languages(languages, settings.pivot)
    missing = [language for language in languages if language not in table.column_names]
    if missing:
        raise InputError.of(
            key,
            f"{name!r} has no column {missing[0]!r}; it must have one for each of the languages, "
            f"and has {', '.join(table.column_names)}{nearest(missing[0], table.column_names)}",
        )
    columns: dict[str, list[str | None]] = {}
    for language in languages:
        column = table[language][:]
        odd = next((v for v in column if v is not None and not isinstance(v, str)), None)
        if odd is not None:
            raise InputError.of(
                key, f"{name!r} holds {odd!r} in the column {language!r}; it must hold sentences "
                f"(name the columns to use in data.languages)"
            )  # fmt: skip
        # sentence-transformers strips what it encodes; blank is missing.
        columns[language] = [(v or "").strip() or None for v in column]
    corpus = Corpus(columns)
    full = [
        row
        for row in range(len(corpus))
        if sum(column[row] is not None for column in columns.values()) >= 2
    ]
    if not full:
        raise InputError.of(
            key, f"{name!r} has no row with two languages or more; it must have some"
        )
    return corpus.take(full)


def _open(key: str, name: str, split: str) -> datasets.Dataset:
    import datasets  # here: workers import this file, too, and the library takes a second

    path = Path(name).expanduser()
    local = path.exists() or path.suffix in FORMATS or name.startswith(("/", ".", "~"))
    if local and not path.exists():
        raise InputError.of(key, f"is {name!r}, which does not exist")
    if local and path.suffix not in FORMATS:
        raise InputError.of(key, f"is {name!r}; a file must end in one of {', '.join(FORMATS)}")
    bars = datasets.utils.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        if not local:
            table = datasets.load_dataset(name, split=split)
        else:
            builder, options = FORMATS[path.suffix]
            if builder == "csv":
                options = options | {"features": _strings(path, options["sep"])}
            # A cache of its own: one kept in the home folder may be stale or not writable.
            with tempfile.TemporaryDirectory() as cache:
                table = datasets.load_dataset(
                    builder,
                    data_files=str(path.resolve()),
                    split="train",
                    cache_dir=cache,
                    keep_in_memory=True,
                    **options,
                )
    except Exception as error:  # from OSError to pyarrow's, pandas' and the hub's own
        cause = error.__cause__ or error
        reason = next((line for line in str(cause).splitlines() if line.strip()), repr(cause))
        raise InputError.of(key, f"{name!r} cannot be read: {reason.strip()}") from error
    finally:
        if bars:
            datasets.enable_progress_bars()
    table = table.flatten()  # the hub's translation sets nest the languages under one column
    return table.rename_columns(
        {c: c.removeprefix("translation.") for c in table.column_names if "translation." in c}
    )


def _strings(file: Path, separator: str) -> datasets.Features:
    """Every named column of a csv file as text: a sentence such as "123" must not be a number.

    Raises:
        ValueError: the first row is longer than the header. pandas would take its first column for
            an index and move all others by one; of later rows, it says so itself.
    """
    import datasets

    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(lines, delimiter=separator)
        header, first = next(rows, []), next(rows, [])
    if len(first) > len(header):
        raise ValueError(
            f"the header has {len(header)} columns and the row after it {len(first)}; a sentence "
            f"that holds {separator!r} must stand in quotes"
        )
    return datasets.Features({name: datasets.Value("string") for name in header if name})


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
