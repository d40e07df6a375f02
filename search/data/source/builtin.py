"""The built-in corpus, ``builtin:cldr``."""

from typing import ClassVar, Literal

import pyarrow as pa

from search.data import cldr
from search.data.reading.interface import Request, SourceConfig, SourceTable

ROWS = {"train": 4000, "validation": 200}


class Builtin(SourceConfig):
    """Phrases made from Unicode CLDR (see `search.data.cldr`), as many as one likes.

    Attributes:
        name: ``cldr``.
    """

    has_validation: ClassVar[bool] = True

    kind: Literal["builtin"] = "builtin"
    name: str = "cldr"

    def read(self, request: Request) -> SourceTable:
        if self.name != "cldr":
            raise request.error(f"is 'builtin:{self.name}'; built in is only builtin:cldr")
        languages = request.languages or cldr.LANGUAGES
        rows = request.rows or ROWS[request.split]
        try:
            columns = cldr.phrases(request.split, rows, request.seed, languages)
        except ValueError as error:
            raise request.error(str(error)) from error
        table = pa.table(
            {name: pa.array(column, pa.large_string()) for name, column in columns.items()}
        )
        return SourceTable(table, rows_read=table.num_rows)
