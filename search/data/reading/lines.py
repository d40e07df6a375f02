"""The lines of a text file, plain or compressed."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from search.data.reading.interface import Request

MOST_BYTES = 64 * 2**20  # of a line: a file without line ends must not fill the memory


def numbered_lines(file: Path, request: Request) -> Iterator[tuple[int, str]]:
    """Line number, from 1, and text without the line end (LF or CRLF); a byte order mark is cut.

    Raises:
        InputError: the file is no UTF-8 text.
    """
    name = str(file)
    number = 0
    try:
        with gzip.open(file) if file.name.lower().endswith(".gz") else file.open("rb") as data:
            while line := data.readline(MOST_BYTES):
                number += 1
                if number == 1:
                    _check_start(name, line, request)
                    line = line.removeprefix(codecs.BOM_UTF8)
                if len(line) >= MOST_BYTES:
                    raise request.error(
                        f"{name!r}, line {number}: is longer than {MOST_BYTES:,} bytes; a file "
                        f"must have a row a line"
                    )
                if b"\0" in line:
                    raise request.error(
                        f"{name!r}, line {number}: holds a NUL byte; it must be UTF-8 text"
                    )
                line = line.removesuffix(b"\n").removesuffix(b"\r")
                if number == 1 and line.count(b"\r") > 1:
                    raise request.error(
                        f"{name!r}: ends its lines with carriage returns alone; they must end with "
                        f"a line feed"
                    )
                yield number, line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise request.error(
            f"{name!r}, line {number}: is no UTF-8 text (byte 0x{error.object[error.start]:02x} "
            f"at column {error.start + 1}); the file must be saved as UTF-8"
        ) from error
    except (EOFError, zlib.error) as error:
        raise request.error(
            f"{name!r}: the compressed file is cut off or damaged after line {number}"
        ) from error
    except gzip.BadGzipFile as error:
        raise request.error(f"{name!r}: ends in .gz but is not compressed by gzip") from error
    except OSError as error:
        raise request.error(f"{name!r} cannot be read: {error.strerror or error}") from error


def _check_start(name: str, line: bytes, request: Request) -> None:
    """Tell what is no text from its first bytes."""
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or (
        len(line) > 3
        and (line[1::2].count(0) > len(line) // 3 or line[::2].count(0) > len(line) // 3)
    ):
        raise request.error(
            f"{name!r}: seems to be UTF-16 text; it must be UTF-8 (iconv -f UTF-16 -t UTF-8)"
        )
    for start, what in (
        (b"\x1f\x8b", "compressed by gzip, so its name must end in .gz"),
        (b"PAR1", "a parquet file, so its name must end in .parquet"),
        (b"PK\x03\x04", "a zip archive or a spreadsheet; it must be saved as text"),
    ):
        if line.startswith(start):
            raise request.error(f"{name!r}: is {what}")
