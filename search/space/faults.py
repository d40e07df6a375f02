"""Pydantic's faults of a space file, at the lines where the values were written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from components.errors import SettingError
from search.settings.problems import Problem
from search.settings.wording import as_written, fault_sentence
from search.space.domains import Range
from search.space.keys import legal_keys, suggest_key
from search.space.probes import Probe
from search.space.run_config import FIXED_SECTIONS
from search.space.source import KeyPath, Source
from search.space.tree import BROKEN

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

# Faults of a list that is rightly one, or of a key.
NOT_OF_A_VALUE = ("list_type", "too_short", "too_long", "extra_forbidden")


def probe_problems(
    source: Source, probe: Probe, error: ValidationError, ranges: Mapping[KeyPath, Range]
) -> Iterator[Problem]:
    """Find the problems of a probe, at the lines its values were written in.

    Args:
        ranges: where in the source a range stands -> the range.
    """
    for fault in error.errors():
        given = fault["input"]
        kind = given.get("kind") if isinstance(given, dict) else None
        if given is BROKEN or kind is BROKEN:
            continue  # a malformed domain, which has been reported as such
        path = _untagged(probe.values, fault["loc"])
        origin = probe.origin_of(path)
        if origin in ranges and given not in (ranges[origin].low, ranges[origin].high):
            continue  # the middle, which nobody wrote; an end is at fault too
        legal: list[str] = []
        suggestion = ""
        if fault["type"] == "extra_forbidden":
            legal = legal_keys(probe.values, path[:-1], origin)
            suggestion = suggest_key(path, legal)
            if path in source.places:  # the key is at fault, whatever is written below it
                origin = path
        message = fault_sentence(fault, legal, suggestion) + _choice_cure(fault, path)
        cause = fault.get("ctx", {}).get("error")
        if isinstance(cause, SettingError):  # it may be of a section, and names the key to change
            key = tuple(cause.key.split("."))
            path = key if key[: len(path)] == path else path
            origin = probe.origin_of(path)
        if fault["type"] == "union_tag_invalid":  # it may be written, or set, apart from the rest
            origin = probe.origin_of((*path, "kind"))
        yield source.problem(origin, message, ".".join(map(str, path)))


def _choice_cure(fault: ErrorDetails, path: KeyPath) -> str:
    """Say how several values are written, where they were given as a list."""
    given = fault["input"]
    if fault["type"] in NOT_OF_A_VALUE or path[0] in FIXED_SECTIONS:
        return ""
    if isinstance(given, dict):
        given = given.get("kind")
    if not isinstance(given, list) or not given:
        return ""
    return f"; several values to choose from are written {as_written({'choice': given})}"


def _untagged(values: object, loc: Sequence[str | int]) -> KeyPath:
    """Drop from a pydantic location what is no key: the tag of a union, the branch of a type."""
    path: list[str | int] = []
    node = values
    for index, step in enumerate(loc):
        last = index == len(loc) - 1
        if isinstance(node, dict) and (step in node or (last and isinstance(step, str))):
            if step not in node and step == node.get("kind"):
                continue
            path.append(step)
            node = node.get(step)
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            path.append(step)
            node = node[step]
    return tuple(path)


def join_alternatives(problems: Sequence[Problem]) -> list[Problem]:
    """Say once what each type that a key may have says of the same value."""
    joined: dict[tuple[str, int, str, str], Problem] = {}
    for problem in dict.fromkeys(problems):
        given, _, must = problem.message.partition("; it must be ")
        place = (problem.file, problem.line, problem.key, given)
        if must and place in joined:
            problem = replace(joined[place], message=f"{joined[place].message}, or {must}")
        joined[place] = problem
    return list(joined.values())
