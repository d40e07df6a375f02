"""Parquet files, and Arrow batches of other origin."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from search.data.reading.collect import BLOCK_ROWS, Collector, stray
from search.data.reading.json_rows import NESTED


def read_parquet(file: Path, collector: Collector) -> None:
    """Read a parquet file.

    Raises:
        InputError: it is none, is cut off, or a language is no text.
    """
    request, name = collector.request, str(file)
    with file.open("rb") as data:
        start = data.read(4)
        data.seek(0, 2)
        size = data.tell()
        data.seek(max(0, size - 4))
        end = data.read(4)
    if not size:
        raise request.error(f"{name!r} is empty; it must be a parquet file")
    if start != b"PAR1":
        raise request.error(f"{name!r} is no parquet file, in spite of its name")
    if end != b"PAR1" or size < 12:
        raise request.error(f"{name!r} is cut off: the end of a parquet file is missing")
    try:
        opened = pq.ParquetFile(file)
        for column, count in Counter(opened.schema_arrow.names).items():
            if count > 1 and collector.wants(column, False):
                raise request.error(
                    f"{name!r} has {count} columns named {column!r}; it must have one"
                )
        row = 0
        for batch in opened.iter_batches(BLOCK_ROWS):
            add_batch(batch, name, row, collector)
            row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise request.error(f"{name!r} cannot be read as parquet: {reason}") from error
    if not row:
        raise request.error(f"{name!r} holds no rows; it must hold sentences")


def add_batch(batch: pa.RecordBatch, name: str, before: int, collector: Collector) -> None:
    """Add a batch; the languages may stand in a nested ``translation``.

    Args:
        before: rows of the same source that came before it.
    """
    columns: dict[str, pa.Array] = {}
    nested: dict[str, pa.Array] = {}
    for field, array in zip(batch.schema, batch.columns, strict=True):
        if field.name in NESTED and pa.types.is_struct(field.type):
            inner = [field.type.field(i).name for i in range(field.type.num_fields)]
            nested |= dict(zip(inner, array.flatten(), strict=True))
        else:
            columns[field.name] = array
    for column in columns.keys() & nested.keys():
        if _is_text(columns[column].type) and collector.wants(column, True):
            raise collector.request.error(
                f"{name!r} has {column!r} both as a column and in the translation; it must have one"
            )
    texts = {}
    # What stands under "translation" is a language; a row number beside it gives way.
    for column, array in (columns | nested).items():
        if not collector.wants(column, column in nested) or pa.types.is_null(array.type):
            continue
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        kind = array.type
        if not _is_text(kind):
            plain = pa.types.is_integer(kind) or pa.types.is_floating(kind)
            if collector.is_listed(column) or not (plain or pa.types.is_boolean(kind)):
                row = max(0, pc.index(pc.is_valid(array), True).as_py())
                raise collector.request.error(
                    stray(f"{name!r}, row {before + row + 1}", column, _shown_value(array, row))
                )
            collector.ignore(column, f"it holds {kind} and no text")
            continue
        texts[column] = array
    collector.add(texts, batch.num_rows, lambda row: f"{name!r}, row {before + row + 1}")


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _shown_value(array: pa.Array, row: int) -> object:
    """A value for a message; the name of its type where Python has no form for it here."""
    try:
        return array[row].as_py()
    except (pa.ArrowException, ImportError, ValueError):  # a time zone that is not installed
        return f"a {array.type}"
