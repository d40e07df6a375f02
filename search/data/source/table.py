"""Table files: parquet, TSV, CSV and JSON, one or many."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from search.data.reading.arrow import read_parquet
from search.data.reading.collect import Collector
from search.data.reading.delimited import read_delimited
from search.data.reading.files import find, format_of
from search.data.reading.interface import Request, SourceConfig, SourceTable
from search.data.reading.json_rows import read_json
from search.data.reading.pairs import PairCollector

READERS: dict[str, Callable[[Path, Collector], None]] = {
    ".parquet": read_parquet,
    ".csv": partial(read_delimited, tabs=False),
    ".tsv": partial(read_delimited, tabs=True),
    ".jsonl": read_json,
    ".json": read_json,
}


class Table(SourceConfig):
    """Files with a column a language, or with pairs.

    Attributes:
        files: files, folders and globs. A row is null in the languages that its file lacks.
    """

    text_tables: ClassVar[bool] = True
    tables: ClassVar[bool] = True

    kind: Literal["table"] = "table"
    files: list[str] = Field(min_length=1)

    def read(self, request: Request) -> SourceTable:
        files = find(self.files, request)
        collector = collector_for(request, self._name(files))
        for file in files:
            READERS[format_of(file)](file, collector)
        return collector.finish()

    def _name(self, files: Sequence[Path]) -> str:
        return str(files[0]) if len(files) == 1 else ", ".join(self.files)


def collector_for(request: Request, name: str) -> Collector:
    """What takes the rows of a table: of pairs, or with a column a language."""
    if request.pairs is None:
        return Collector(request, name)
    return PairCollector(request, name, pairs=request.pairs)
