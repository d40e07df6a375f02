"""What a user can set of the sentences: ``data``."""

from __future__ import annotations

from pydantic import Field, field_validator

from components.config import Config
from search.data.prompts import AnyPrompt
from search.data.reading.interface import SplitName
from search.data.reading.names import check_name
from search.data.source import AnySource, PairColumns, SourceConfig
from search.settings.sections import Name


class DataSettings(Config):
    """Parallel sentences.

    Attributes:
        train: where the sentences come from: ``builtin:cldr``; a parquet, csv, tsv, jsonl or json
            file with a column a language (text also with ``.gz``), a folder or glob of such files,
            or a list of these; Moses files, as ``{en: a.en, de: a.de}`` or ``corpus.de-en.*``; a
            data set of the hub, as ``name`` or ``name:config``; or the full form of any of these,
            ``{kind: ...}`` (`search.data.source`).
        validation: likewise; None holds out a share of the rows of ``train`` (``holdout``).
        test: likewise; None puts a share of the rows to validate with aside (``test_share``).
            Nothing is chosen by these sentences: they are read once, at the end, for the figures of
            the best models, the reference and the base without training.
        languages: the columns to use, as ``[en, de]`` or ``en,de``; None for all of ``train`` whose
            names are language codes (ISO 639, BCP 47, FLORES) and no ordinary words, such as
            ``id``.
        columns: names of the columns of TSV and CSV files without a header line, in their order.
        pairs: for tables that hold a source and a target sentence a row and name their languages in
            further columns: ``{source: src, target: tgt, language: lang}``.
        pivot: every language is scored against this one.
        prompt: text that stands before every sentence, in training, in scores and in ``best/``, or
            ``{pivot: ..., others: ...}``; None for the default prompt of the base, if it was saved
            by sentence-transformers with one; ``""`` for none.
        families: language code or ISO 15924 script -> family, in place of what the table in
            ``components/languages.py`` says: ``{ko: korean}`` makes a family of one language.
        holdout: the share of the rows of ``train`` that is held out where ``validation`` is None;
            2,000 rows at most, unless ``validation_rows`` says more. Rows that share a sentence of
            any language are held out together.
        test_share: the share of the rows held out, or of ``validation``, that is put aside where
            ``test`` is None and there are 100 such rows or more; 0 for none. Rows that share a
            sentence of any language are put aside together.
        train_rows, validation_rows, test_rows: the most rows to use; None for all (of the built-in
            corpus, 4,000, 200 and 200).
        seed: of the built-in corpus, of the rows held out and of those used.
    """

    train: AnySource
    validation: AnySource | None = None
    test: AnySource | None = None
    languages: list[str] | None = None
    columns: list[str] | None = Field(default=None, min_length=2)
    pairs: PairColumns | None = None
    pivot: str = "en"
    prompt: AnyPrompt | None = None
    families: dict[str, Name] = Field(default_factory=dict)
    holdout: float = Field(default=0.1, gt=0, lt=1)
    test_share: float = Field(default=0.5, ge=0, lt=1)
    train_rows: int | None = Field(default=None, ge=2)
    validation_rows: int | None = Field(default=None, ge=2)
    test_rows: int | None = Field(default=None, ge=2)
    seed: int = Field(default=0, ge=0, lt=2**32)

    def source(self, split: SplitName) -> SourceConfig | None:
        """Where the sentences of a split come from; None where they are put aside of another's."""
        if split == "train":
            return self.train
        validation = self.validation or (self.train if self.train.has_validation else None)
        if split == "validation" or self.test is not None:
            return validation if split == "validation" else self.test
        own = validation is not None and validation.has_validation and self.test_share > 0
        return validation if own else None

    def rows(self, split: SplitName) -> int | None:
        """The most rows of a split; None for all."""
        most = {"validation": self.validation_rows, "test": self.test_rows}
        return self.train_rows if split == "train" else most[split]

    @field_validator("languages", mode="before")
    @classmethod
    def _as_list(cls, languages: object) -> object:
        if isinstance(languages, str):
            return [name.strip() for name in languages.split(",")]
        return languages

    @field_validator("languages")
    @classmethod
    def _plain_names(cls, languages: list[str] | None) -> list[str] | None:
        for language in languages or ():
            check_name(language)
        return languages
