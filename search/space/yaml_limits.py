"""What a YAML text may hold, checked event by event before anything is built from it.

A few hundred bytes of aliases can stand for billions of values, and a deep nesting exhausts the
stack of a loader; both are refused here from the parser's events, one at a time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from search.settings.problems import shown

MOST_BYTES = 1_000_000
MOST_VALUES = 20_000
MOST_LEVELS = 50
MOST_DIGITS = 18  # of a whole number; larger ones would leave 64 bits
KNOWN_TAGS = frozenset(
    f"tag:yaml.org,2002:{t}" for t in ("str", "int", "float", "bool", "null", "seq", "map")
)
WHOLE = re.compile(r"[-+]?[0-9][0-9_]*")


class UnfitYamlError(ValueError):
    """The text is not one that a space file may hold.

    Attributes:
        line: where, counted from 1.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass
class _Open:
    """A mapping or sequence whose end has not come yet: its anchor, and its values so far."""

    anchor: str | None
    values: int = 1


def check_yaml(text: str) -> None:
    """Look through a YAML text without building what it describes.

    Raises:
        UnfitYamlError: it is too large, too deeply nested, stands for too many values through its
            aliases, holds an unknown tag or a whole number beyond 64 bits, or asks for YAML 1.1.
        ruamel.yaml.error.YAMLError: it is not YAML.
    """
    anchored: dict[str, int] = {}  # name of an anchor -> values that it stands for
    levels: list[_Open] = [_Open(None, 0)]
    for event in YAML(typ="rt", pure=True).parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, DocumentStartEvent):
            if event.version is not None and tuple(event.version) != (1, 2):
                version = ".".join(map(str, event.version))
                raise UnfitYamlError(line, f"asks for YAML {version}; it must be YAML 1.2")
            continue
        if isinstance(event, AliasEvent):
            if any(level.anchor == event.anchor for level in levels):
                raise UnfitYamlError(
                    line, f"*{shown(event.anchor)} stands inside what it names, so it has no end"
                )
            levels[-1].values += anchored.get(event.anchor, 1)
        elif isinstance(event, NodeEvent):
            if isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent):
                _check_tag(event, line)
            if isinstance(event, ScalarEvent):
                _check_number(event, line)
                levels[-1].values += 1
                if event.anchor:
                    anchored[event.anchor] = 1
            elif isinstance(event, MappingStartEvent | SequenceStartEvent):
                levels.append(_Open(event.anchor))
                if len(levels) - 1 > MOST_LEVELS:
                    raise UnfitYamlError(
                        line, f"is nested deeper than {MOST_LEVELS} levels; it must be flatter"
                    )
        elif len(levels) > 1:  # the end of a mapping, a sequence, or (with one level) the document
            closed = levels.pop()
            levels[-1].values += closed.values
            if closed.anchor:
                anchored[closed.anchor] = closed.values
        if sum(level.values for level in levels) > MOST_VALUES:
            raise UnfitYamlError(
                line,
                f"stands for more than {MOST_VALUES:,} values, each alias (*name) counted as what "
                f"it names; it must be at most that many",
            )


def _check_tag(event: ScalarEvent | MappingStartEvent | SequenceStartEvent, line: int) -> None:
    tag = None if event.ctag is None else str(event.ctag)
    if tag in (None, "!") or tag in KNOWN_TAGS:
        return
    written = str(tag).replace("tag:yaml.org,2002:", "!!", 1)
    raise UnfitYamlError(
        line, f"has the tag {shown(written)!r}, which means nothing here; it must be left out"
    )


def _check_number(event: ScalarEvent, line: int) -> None:
    if event.style is None and WHOLE.fullmatch(event.value):
        digits = sum(character.isdigit() for character in event.value)
        if digits > MOST_DIGITS:
            raise UnfitYamlError(
                line,
                f"is a whole number of {digits} digits; it must have at most {MOST_DIGITS} (or "
                f"stand in quotes, if it is text)",
            )
