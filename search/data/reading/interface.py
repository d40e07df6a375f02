"""What every source of sentences must be, and what it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from components.config import Config
from search.settings.problems import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from search.runtime.store import Store

SplitName = Literal["train", "validation", "test"]


class PairColumns(Config):
    """The columns of a table of pairs: two sentences a row, with their languages beside them.

    Attributes:
        source: column of the one sentence.
        target: column of the other.
        language: language of the target: a column that names it in each row, or a language code.
        source_language: likewise of the source; None for the pivot.
    """

    source: str = Field(min_length=1)
    target: str = Field(min_length=1)
    language: str = Field(min_length=1)
    source_language: str | None = Field(default=None, min_length=1)


@dataclass(frozen=True)
class Request:
    """What is asked of a source.

    Attributes:
        key: the setting that named the source, for the errors.
        languages: the columns to read; None for all that are named by a language code.
        columns: names of the columns of TSV and CSV files that have no header line.
        pairs: the columns of a table of pairs; None where each language has a column.
        rows: of the built-in corpus.
        skipped: rows of the built-in corpus that come before these, and are in another split.
        store: where the built-in corpus is kept for later; nowhere by default.
    """

    key: str
    split: SplitName
    languages: Sequence[str] | None
    pivot: str = "en"
    columns: Sequence[str] | None = None
    pairs: PairColumns | None = None
    rows: int | None = None
    skipped: int = 0
    seed: int = 0
    store: Store | None = None

    def error(self, message: str) -> InputError:
        """A fault of the source."""
        return InputError.of(self.key, message)


@dataclass(frozen=True)
class SourceTable:
    """Aligned sentences as they stand in a source.

    Attributes:
        table: one large_string column a language, named as the language; null where a sentence is
            missing or blank. Text is as given, without the white space around it.
        ignored: column of the source -> why it is not read as a language.
        blank: language -> cells that held white space only.
        notes: what a person must be told of how the source was read, a sentence each.
        rows_read: rows of the source.
    """

    table: pa.Table
    ignored: dict[str, str] = field(default_factory=dict)
    blank: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    rows_read: int = 0


class SourceConfig(Config, ABC):
    """Names a source of sentences.

    Attributes:
        has_validation: the source has sentences of its own to validate and to test with, which are
            used where ``data.validation`` is not set.
        text_tables: TSV or CSV files may be among what it reads, so that ``data.columns`` counts.
        tables: it may be a table of pairs, so that ``data.pairs`` counts.
    """

    has_validation: ClassVar[bool] = False
    text_tables: ClassVar[bool] = False
    tables: ClassVar[bool] = False

    kind: str

    @abstractmethod
    def read(self, request: Request) -> SourceTable:
        """Read all rows.

        Raises:
            InputError: the source cannot be read, or holds what cannot be sentences.
        """

    def hub_name(self) -> str | None:
        """Name of the data set on the hub; None where it lies on this machine."""
        return None
