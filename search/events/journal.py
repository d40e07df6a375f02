"""The append-only record of a run: every report and every ending, a line and its checksum each."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from search.events.types import (
    EVENTS,
    FORMAT,
    EpochDone,
    Event,
    JournalStarted,
    TrialContinued,
    TrialEnded,
    TrialStarted,
)
from search.scoring.constraints import Constraints
from search.settings.problems import InputError


class Journal:
    """A file of JSON lines.

    Args:
        file: made where it does not exist, otherwise continued after its last whole line.
        tell: told of each event that has been written.
        constraints: of the search, for a file that is made.
    """

    def __init__(
        self,
        file: Path,
        tell: Callable[[Event], None] = lambda event: None,
        constraints: Constraints | None = None,
    ) -> None:
        self._tell = tell
        whole = 0
        self._sum = 0
        if file.exists():
            data = file.read_bytes()
            whole = data.rfind(b"\n") + 1
            os.truncate(file, whole)  # the next event must not be glued to half a line
            for line in data[:whole].splitlines():
                _, self._sum = _split(line, self._sum)
        self._out = file.open("a", encoding="utf-8")
        if not whole:
            self.append(JournalStarted(constraints=constraints or Constraints()))

    def append(self, event: Event) -> None:
        """Write an event; it is on its way to the disk when this returns."""
        text = event.model_dump_json()
        self._sum = zlib.crc32(text.encode(), self._sum)
        self._out.write(f"{text[:-1]}{_checksum(self._sum)}\n")
        self._out.flush()
        self._tell(event)

    def close(self) -> None:
        """Put everything on the disk."""
        self._out.flush()
        os.fsync(self._out.fileno())
        self._out.close()


def read_journal(file: Path) -> Iterator[Event]:
    """Read the events; a last line cut off by a crash is left out.

    Raises:
        InputError: the journal is of another format, or a line in it is damaged.
    """
    epochs: dict[tuple[int, int], int] = {}
    total = 0
    with file.open("rb") as lines:  # a cut may go through the middle of a character
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return
            if number == 1:
                _check_format(file, line)
            try:
                text, total = _split(line.removesuffix(b"\n"), total)
                event = EVENTS.validate_json(text)
            except ValueError as error:
                why = "or the one before it is not what was written"
                raise _damaged(file, number, why) from error
            if fault := _out_of_order(event, epochs):
                raise _damaged(file, number, fault)
            yield event


def _checksum(total: int) -> str:
    """What stands instead of the last brace of an event: a key with the CRC-32 of all up to it."""
    return f',"crc":"{total:08x}"}}'


def _split(line: bytes, total: int) -> tuple[bytes, int]:
    """The event in a line, and the checksum of all events up to it; a line may be without one.

    Args:
        total: checksum of the events before.

    Raises:
        ValueError: the line is not what was written, or one before it has been removed.
    """
    at = line.rfind(b',"crc":')
    event = line if at < 0 else line[:at] + b"}"
    total = zlib.crc32(event, total)
    if at >= 0 and line[at:] != _checksum(total).encode():
        raise ValueError("the checksum is another one")
    return event, total


def _out_of_order(event: Event, epochs: dict[tuple[int, int], int]) -> str:
    """Why an event cannot follow those before it; empty where it can.

    Args:
        epochs: trial and repeat -> epochs done before; brought up to date.
    """
    if not isinstance(event, TrialStarted | TrialContinued | EpochDone | TrialEnded):
        return ""
    run = event.trial, event.repeat
    match event:
        case TrialStarted():
            if run in epochs:
                return f"starts trial {event.trial} a second time"
            parent = event.parent
            if parent is not None and (parent, event.repeat) not in epochs:
                return f"starts trial {event.trial} from trial {parent}, which no line has started"
            epochs[run] = 0 if parent is None else epochs[parent, event.repeat]
        case _ if run not in epochs:
            return f"speaks of trial {event.trial}, which no line before it has started"
        case TrialContinued() | EpochDone():
            known = epochs[run]
            if event.epoch > known + isinstance(event, EpochDone):
                return f"is of epoch {event.epoch} of trial {event.trial}, which had done {known}"
            epochs[run] = event.epoch
    return ""


def _damaged(file: Path, number: int, why: str) -> InputError:
    return InputError(
        f"the journal {file} is damaged: line {number} {why}; to lose only what comes after, keep "
        f"the first {number - 1} lines of it (head -n {number - 1})"
    )


def _check_format(file: Path, line: bytes) -> None:
    """Refuse a journal whose first line names another format, or none.

    Raises:
        InputError: with both formats.
    """
    try:
        first = json.loads(line)
        found = first.get("format") if first.get("event") == "journal" else None
    except (ValueError, AttributeError):
        found = None
    if found != FORMAT:
        named = "no format" if found is None else f"the format {found!r}"
        raise InputError(
            f"the journal {file} has {named}; this version reads format {FORMAT}: read it with the "
            f"version that wrote it (see run.json beside it)"
        )
