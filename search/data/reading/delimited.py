"""TSV and CSV files."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from search.data.reading.collect import BLOCK_ROWS, Collector
from search.data.reading.interface import Request
from search.data.reading.lines import MOST_BYTES, numbered_lines
from search.data.reading.names import is_code
from search.settings.problems import shown

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
MOST_LINES = 1000  # of one quoted field


def read_delimited(file: Path, collector: Collector, tabs: bool) -> None:
    """Read a file with a header line, or with the columns that ``data.columns`` names.

    In a TSV file a row is a line and quotation marks are text; in a CSV file they quote (RFC 4180).

    Raises:
        InputError: rows of unlike lengths, an open quote, no header line.
    """
    request, name = collector.request, str(file)
    lines = numbered_lines(file, request)
    first = next(lines, None)
    while first is not None and not first[1].strip():
        first = next(lines, None)
    if first is None:
        raise request.error(f"{name!r} is empty; it must hold sentences")
    separator = "\t" if tabs else _separator(first[1], collector)
    if tabs and "\t" not in first[1]:
        used = next((word for sign, word in SEPARATORS.items() if sign in first[1]), "")
        cure = f"; its columns seem to be separated by a {used}: name it .csv" if used else ""
        raise request.error(f"{name!r}, line {first[0]}: holds no tab{cure}")
    limit = csv.field_size_limit(MOST_BYTES)
    try:
        rows = _split(first, lines, separator) if tabs else _parse(first, lines, separator, name,
                                                                   request)  # fmt: skip
        _read_rows(name, rows, collector)
    finally:
        csv.field_size_limit(limit)


def _read_rows(name: str, rows: Iterator[tuple[int, list[str]]], collector: Collector) -> None:
    request = collector.request
    number, cells = next(rows)
    header = [cell.strip() for cell in cells]
    waiting: tuple[int, list[str]] | None = None
    if request.columns is not None:
        names = list(request.columns)
        if len(cells) != len(names):
            raise request.error(
                f"{name!r}, line {number}: has {len(cells)} cells, but data.columns names "
                f"{len(names)} columns; it must name as many"
            )
        if header == names:
            collector.notes[f"{name!r} has a header line, the same as data.columns"] = None
        else:
            waiting = (number, cells)
    else:
        names = header
        _check_header(name, number, names, collector)
    wanted = [(index, column) for index, column in enumerate(names)
              if column and collector.wants(column)]  # fmt: skip
    for index, column in enumerate(names):
        if not column:
            collector.ignore(f"column {index + 1}", "it has no name")
    block: list[list[str]] = []
    numbers: list[int] = []
    before = collector.rows

    def flush() -> None:
        at = list(numbers)
        columns = {column: [row[index] for row in block] for index, column in wanted}
        collector.add(columns, len(block), lambda row: f"{name!r}, line {at[row]}")
        block.clear()
        numbers.clear()

    def take(number: int, row: list[str]) -> None:
        if len(row) != len(names):
            raise request.error(
                f"{name!r}, line {number}: has {len(row)} cells, but the "
                f"{'header' if waiting is None else 'first line'} has {len(names)}; every row must "
                f"have as many (a sentence that holds the separator must stand in quotes, in a "
                f".csv file)"
            )
        block.append(row)
        numbers.append(number)
        if len(block) >= BLOCK_ROWS:
            flush()

    if waiting is not None:
        take(*waiting)
    for number, row in rows:
        take(number, row)
    if block:
        flush()
    if collector.rows == before:
        raise request.error(f"{name!r} holds a header line and no rows; it must hold sentences")


def _check_header(name: str, number: int, names: list[str], collector: Collector) -> None:
    """Check the header line: every name once, and not a line of sentences."""
    request = collector.request
    twice = next((n for i, n in enumerate(names) if n and n in names[:i]), None)
    if twice is not None:
        raise request.error(
            f"{name!r}, line {number}: names the column {shown(twice)!r} twice; it must name each "
            f"column once"
        )
    known = request.languages or ()
    pairs = request.pairs
    used = {*known, *(() if pairs is None else (pairs.source, pairs.target))}
    if any(is_code(column) or column in used for column in names):
        return
    if any(" " in column or len(column) > 24 or not column.isascii() for column in names):
        example = ", ".join(known or ["en", "de"][: len(names)])
        raise request.error(
            f"{name!r}, line {number}: seems to hold sentences and no names of languages "
            f"({shown(names[0], 40)!r}); a file without a header line needs its columns named: "
            f"data.columns: [{example}]"
        )


def _separator(line: str, collector: Collector) -> str:
    """The separator of a CSV file, by its first line: the comma wherever there is one."""
    if "," in line and ";" not in line and "\t" not in line:
        return ","
    counts = {sign: len(next(csv.reader([line], delimiter=sign))) for sign in SEPARATORS}
    codes = {
        sign: sum(is_code(cell.strip()) for cell in next(csv.reader([line], delimiter=sign)))
        for sign in SEPARATORS
    }
    best = max(SEPARATORS, key=lambda sign: (codes[sign], sign == ",", counts[sign]))
    if codes[best] == 0:  # no header: the comma, unless there is none
        best = "," if counts[","] > 1 else max(counts, key=lambda sign: counts[sign])
    if best != "," and counts[best] > 1:
        collector.notes[f"the columns are separated by a {SEPARATORS[best]}, not by a comma"] = None
        return best
    return ","


def _split(
    first: tuple[int, str], lines: Iterator[tuple[int, str]], separator: str
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a TSV file; empty lines are passed over."""
    yield first[0], first[1].split(separator)
    for number, line in lines:
        if line:
            yield number, line.split(separator)


def _parse(
    first: tuple[int, str],
    lines: Iterator[tuple[int, str]],
    separator: str,
    name: str,
    request: Request,
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file, each with the line it begins in; empty lines are passed over."""
    used: list[tuple[int, str]] = []

    def broken(to: int) -> Exception:
        return request.error(
            f"{name!r}, line {used[0][0]}: a quotation mark opens a field that does not end "
            f"properly up to line {to}; a field in quotes must end with one, and one inside it be "
            f'doubled ("")'
        )

    def feed() -> Iterator[str]:
        used.append(first)
        yield first[1] + "\n"
        for line in lines:
            used.append(line)
            if len(used) > MOST_LINES:
                raise broken(line[0])
            yield line[1] + "\n"

    reader = csv.reader(feed(), delimiter=separator, strict=True)
    width = 0
    while True:
        used.clear()
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise broken(used[-1][0]) from error
        if row is None:
            return
        if not row:
            continue
        width = width or len(row)
        joined = [line for _, line in used]
        if width > 1 and _took_in_rows(joined, separator, width):
            raise broken(used[-1][0])
        yield used[0][0], row


def _took_in_rows(lines: list[str], separator: str, width: int) -> bool:
    """Whether a field of several lines looks like rows that an open quotation mark has joined.

    Such lines have as many cells as the header, and no white space after a separator, as the commas
    of a sentence have.
    """
    tight = re.compile(re.escape(separator) + r"(?!\s)")
    if len(lines) < 2:
        return False
    inner = [line for line in lines[1:-1] if '"' not in line]
    if lines[0].startswith('"') and lines[0].count('"') == 1:
        inner.append(lines[0][1:])
    return any(
        line.count(separator) == width - 1 == len(tight.findall(line)) and not line.startswith(" ")
        for line in inner
    )
