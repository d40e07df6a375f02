"""Moses pairs: a plain text file a language, whose lines correspond."""

from dataclasses import replace
from itertools import zip_longest
from os.path import expanduser
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from search.data.reading.collect import BLOCK_ROWS, Collector
from search.data.reading.files import check_file
from search.data.reading.interface import Request, SourceConfig, SourceTable
from search.data.reading.lines import numbered_lines
from search.data.reading.names import check_name


class Moses(SourceConfig):
    """Two text files or more, a sentence a line.

    Attributes:
        files: language -> its file; line n of each is the same sentence.
    """

    kind: Literal["moses"] = "moses"
    files: dict[str, str] = Field(min_length=2)

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, str]) -> dict[str, str]:
        for language, file in files.items():
            check_name(language)
            if not file:
                raise ValueError(f"names no file for {language!r}")
        return files

    def read(self, request: Request) -> SourceTable:
        paths = {language: Path(expanduser(file)) for language, file in self.files.items()}
        for path in paths.values():
            check_file(path, request)
        name = ", ".join(self.files.values())
        # A mapping that a person wrote says what is a language; no name in it is ambiguous.
        listed = list(paths) if request.languages is None else request.languages
        collector = Collector(replace(request, languages=listed), name)
        languages = [language for language in paths if collector.wants(language)]
        readers = [numbered_lines(paths[language], request) for language in paths]
        block: list[tuple[str, ...]] = []

        def flush() -> None:
            before = collector.rows
            places = [languages.index(n) if n in languages else -1 for n in paths]
            columns = {
                language: [row[column] for row in block]
                for column, (language, place) in enumerate(zip(paths, places, strict=True))
                if place >= 0
            }
            collector.add(columns, len(block), lambda row: f"{name!r}, line {before + row + 1}")
            block.clear()

        for rows in zip_longest(*readers):
            if None in rows:
                self._unequal(collector.rows + len(block), rows, readers, request)
            block.append(tuple(line for _, line in rows))
            if len(block) >= BLOCK_ROWS:
                flush()
        if block:
            flush()
        if not collector.rows:
            raise request.error(f"{name!r} are empty; they must hold sentences")
        return collector.finish()

    def _unequal(self, lines: int, rows: tuple, readers: list, request: Request) -> None:  # type: ignore[type-arg]
        counts = {
            file: lines + (0 if row is None else 1 + sum(1 for _ in reader))
            for file, row, reader in zip(self.files.values(), rows, readers, strict=True)
        }
        told = " and ".join(f"{file!r} has {count:,} lines" for file, count in counts.items())
        raise request.error(f"{told}; they must have as many")
