"""JSON files: a row a line, or one array of rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from search.data.reading.collect import BLOCK_ROWS, Collector, stray
from search.data.reading.interface import Request
from search.data.reading.lines import numbered_lines
from search.settings.problems import shown

NESTED = ("translation", "translations")


def read_json(file: Path, collector: Collector) -> None:
    """Read rows that are objects; the languages may stand in a nested ``translation``.

    Rows may have unlike keys: a language that a row lacks is null there.

    Raises:
        InputError: a line is no JSON or no object, or a value is no text.
    """
    request, name = collector.request, str(file)
    cells: dict[str, list[object]] = {}
    numbers: list[int] = []
    odd: dict[str, str] = {}  # column of numbers so far -> the fault that text beside them is
    before = collector.rows

    def flush() -> None:
        at = list(numbers)
        for values in cells.values():
            values.extend([None] * (len(at) - len(values)))
        collector.add(cells, len(at), lambda row: f"{name!r}, line {at[row]}")
        cells.clear()
        numbers.clear()

    for number, row in _rows(file, request):
        if not isinstance(row, dict):
            raise request.error(
                f"{name!r}, line {number}: holds {shown(json.dumps(row))}; a row must be an "
                f'object, such as {{"en": "...", "de": "..."}}'
            )
        nested: dict[str, object] = {}
        for key in NESTED:
            if isinstance(row.get(key), dict):
                nested |= row[key]
        twice = next((key for key in nested if isinstance(row.get(key), str)), None)
        if twice is not None and collector.wants(twice, True):
            raise request.error(
                f"{name!r}, line {number}: has {twice!r} both beside the translation and in it; it "
                f"must have one"
            )
        if nested:  # the keys there are languages; a row number beside them gives way
            row = {k: v for k, v in row.items() if k not in (*NESTED, *nested)} | nested
        for key, value in row.items():
            if value is None:
                collector.wants(key, key in nested)
                continue
            if not collector.wants(key, key in nested):
                if isinstance(value, str) and key in odd:
                    raise request.error(odd[key])  # text in other rows: a stray value
                continue
            if not isinstance(value, str):
                known = collector.is_listed(key) or key in collector.with_text
                if known or not isinstance(value, int | float):
                    raise request.error(stray(f"{name!r}, line {number}", key, value))
                odd[key] = stray(f"{name!r}, line {number}", key, value)
                collector.ignore(key, f"it holds {value!r} and no text")
                continue
            collector.with_text.add(key)
            values = cells.setdefault(key, [])
            values.extend([None] * (len(numbers) - len(values)))
            values.append(value)
        numbers.append(number)
        if len(numbers) >= BLOCK_ROWS:
            flush()
    if numbers:
        flush()
    if collector.rows == before:
        raise request.error(f"{name!r} is empty; it must hold sentences")


def _rows(file: Path, request: Request) -> Iterator[tuple[int, object]]:
    lines = numbered_lines(file, request)
    for number, line in lines:
        text = line.strip()
        if not text:
            continue
        if text.startswith("["):
            rest = "\n".join([line, *(after for _, after in lines)])
            yield from _array(str(file), number, rest, request)
            return
        try:
            yield number, json.loads(text, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise _fault(str(file), number, error, request) from error


def _array(name: str, first: int, text: str, request: Request) -> Iterator[tuple[int, object]]:
    """The elements of an array, one at a time, so that only the text is held as a whole."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    line, counted = first, 0

    def skip(at: int) -> int:
        while at < len(text) and text[at] in " \t\r\n":
            at += 1
        return at

    at = skip(skip(0) + 1)
    while True:
        line += text.count("\n", counted, at)
        counted = at
        if text[at : at + 1] == "]":
            break
        try:
            row, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _fault(name, line, error, request) from error
        yield line, row
        at = skip(end)
        if text[at : at + 1] == ",":
            at = skip(at + 1)
        elif text[at : at + 1] != "]":
            line += text.count("\n", counted, at)
            raise request.error(f"{name!r}, line {line}: the array does not go on with ',' or ']'")
    if skip(at + 1) < len(text):
        raise request.error(f"{name!r}: holds more after the array; it must be one array")


class RepeatedKeyError(ValueError):
    """An object names a key twice: JSON does not say which value holds."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (key, count), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise RepeatedKeyError(
            f"has the key {shown(repr(key))} {count} times; it must have it once"
        )
    return found


def _fault(name: str, number: int, error: Exception, request: Request) -> Exception:
    if isinstance(error, RepeatedKeyError):
        return request.error(f"{name!r}, line {number}: {error}")
    if isinstance(error, RecursionError):
        reason = "it is nested too deeply"
    else:  # beside faults of the syntax, a number of more digits than Python reads
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return request.error(f"{name!r}, line {number}: is no JSON: {reason}")
