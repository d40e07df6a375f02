"""The built-in corpus, ``builtin:cldr``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pyarrow as pa

from search.data import cldr
from search.data.reading.interface import Request, SourceConfig, SourceTable

if TYPE_CHECKING:
    from torch import Tensor

ROWS = {"train": 4000, "validation": 200, "test": 200}


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
        split: cldr.Split = "train" if request.split == "train" else "validation"
        place = slice(request.skipped, request.skipped + rows)
        make = partial(_phrases, split, place, request.seed, languages)
        try:
            if request.store is None:
                table = make()
            else:
                code = hashlib.sha256(Path(cldr.__file__).read_bytes()).hexdigest()
                first, last = place.start, place.stop
                about = [version("babel"), code, split, first, last, request.seed, [*languages]]
                key = hashlib.sha256(json.dumps(about).encode()).hexdigest()
                what = f"builtin:cldr, {rows} rows of {request.split}"
                found = request.store.build(key, what, lambda: _stored(make()), wait=True)
                assert found is not None
                table = pa.ipc.open_stream(pa.py_buffer(found["table"].numpy())).read_all()
        except ValueError as error:
            raise request.error(str(error)) from error
        return SourceTable(table, rows_read=table.num_rows)


def _phrases(split: cldr.Split, place: slice, seed: int, languages: Sequence[str]) -> pa.Table:
    columns = cldr.phrases(split, place.stop, seed, languages)
    return pa.table(
        {name: pa.array(column[place], pa.large_string()) for name, column in columns.items()}
    )


def _stored(table: pa.Table) -> dict[str, Tensor]:
    """A table as a store takes it."""
    import torch  # not at the top: those who only name a source need none of the seconds it takes

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return {"table": torch.from_numpy(np.frombuffer(sink.getvalue(), np.uint8).copy())}
