"""Read a space file and the ``--set`` options: plain values, and where each of them stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from components.config import with_kind
from search.settings.problems import InputError, Problem, shown
from search.space.relative import rebase
from search.space.yaml_limits import MOST_BYTES, UnfitYamlError, check_yaml

KeyPath = tuple[str | int, ...]
# The components of a trial: sections that have a kind, which may stand alone (``pooling: mean``).
COMPONENTS = ("pooling", "head", "adapter", "loss", "negatives")


@dataclass
class Source:
    """What was written, and where.

    Attributes:
        tree: plain dicts, lists and scalars.
        places: path inside the tree -> file (or option) and line.
    """

    tree: dict[str, Any]
    places: dict[KeyPath, tuple[str, int]] = field(default_factory=dict)

    def problem(self, path: KeyPath, message: str, key: str | None = None) -> Problem:
        """A problem at a path; a path that was not written stands where its parent does."""
        shown = ".".join(map(str, path)) if key is None else key
        while path and path not in self.places:
            path = path[:-1]
        file, line = self.places.get(path, ("", 0))
        return Problem(file, line, shown, message)


@dataclass(frozen=True)
class Assignment:
    """A value of one key, in force over what the space file says.

    Attributes:
        key: with dots, such as ``optimizer.lr``.
        value: plain.
        place: the option that gave it, for faults.
    """

    key: str
    value: Any
    place: str


def read(file: Path, assignments: Sequence[str | Assignment] = ()) -> Source:
    """Read a space file and apply ``key=value`` assignments to it.

    YAML 1.2: ``no`` is a word, ``1e-5`` a number, and a repeated key an error.

    Raises:
        InputError: the file cannot be read or is not YAML, or an assignment is malformed.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)  # no more of it: it may be of any size
        if len(data) > MOST_BYTES:
            raise InputError(
                f"space file {str(file)!r} holds more than {MOST_BYTES:,} bytes; it must be smaller"
            )
        text = data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, UnicodeDecodeError):
            line = error.object.count(b"\n", 0, error.start) + 1
            reason = f"line {line} is not UTF-8 text; it must be saved as UTF-8"
        if "null byte" in str(error):
            reason = "its name holds a null character"
        raise InputError(f"space file {str(file)!r} cannot be read: {reason}") from error
    loaded = _parse(text, str(file))
    if not isinstance(loaded, CommentedMap):
        got = "nothing" if loaded is None else _kind(loaded)
        raise InputError(
            [Problem(str(file), 1, "", f"holds {got}; a space file must hold sections, such as "
                     f"'base:' and 'data:'")]
        )  # fmt: skip
    source = Source({}, {(): (str(file), 1)})
    source.tree = _plain(loaded, (), source.places, str(file), None)
    rebase(source.tree, file.parent)
    _expand_kinds(source.tree)
    assign(source, assignments)
    return source


def assign(source: Source, assignments: Sequence[str | Assignment]) -> None:
    """Apply assignments, as ``key=value`` or parsed.

    Raises:
        InputError: some are malformed.
    """
    problems = []
    for assignment in assignments:
        place = _option(assignment) if isinstance(assignment, str) else assignment.place
        try:
            if isinstance(assignment, str):
                assignment = _parse_assignment(assignment)
            _assign(source, assignment)
        except ValueError as error:
            problems.append(Problem(place, 0, "", str(error)))
        else:
            _expand_kinds(source.tree)
    if problems:
        raise InputError(problems)


def _expand_kinds(tree: dict[str, Any]) -> None:
    """Put a mapping in place of each component that is written as its kind alone."""
    search = tree.get("search")
    starts = search.get("start") if isinstance(search, dict) else None
    for part in (tree, *_mappings(tree.get("cases")), *_mappings(starts)):
        for section in COMPONENTS:
            component = part.get(section)
            if isinstance(component, dict) and isinstance(component.get("choice"), list):
                component["choice"] = [with_kind(option) for option in component["choice"]]
            elif section in part:
                part[section] = with_kind(component)


def _mappings(items: object) -> list[dict[str, Any]]:
    return [i for i in items if isinstance(i, dict)] if isinstance(items, list) else []


def option_value(text: str, name: str) -> object:
    """The value of an option: a word, or a mapping or list as YAML writes them in one line.

    Args:
        name: of the option, for the errors.

    Raises:
        InputError: it looks like a mapping or list and is none.
    """
    written = text.strip()
    if (written[:1], written[-1:]) not in (("{", "}"), ("[", "]")):
        return text
    return _plain(_parse(written, name), (), {}, name, 0)


def _parse(text: str, name: str) -> object:
    try:
        check_yaml(text)
        return YAML(typ="rt", pure=True).load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        key = str(error.problem).split('"')[1] if '"' in str(error.problem) else ""
        raise InputError(
            [Problem(name, line, key, "is given twice; it must be given once")]
        ) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        line = mark.line + 1 if mark else 0
        raise InputError([Problem(name, line, "", f"is not YAML: {what}")]) from error
    except UnfitYamlError as error:
        raise InputError([Problem(name, error.line, "", str(error))]) from error
    except (YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError([Problem(name, 0, "", f"is not YAML: {reason}")]) from error


def _kind(value: object) -> str:
    """What a value is, in the words of YAML."""
    if isinstance(value, CommentedSeq):
        return f"a list of {len(value)}"
    return f"the single value {shown(value)!r}"


def _plain(
    value: Any, path: KeyPath, places: dict[KeyPath, tuple[str, int]], file: str, line: int | None
) -> Any:
    """Strip ruamel's types, noting the line of every node (or ``line``, for options)."""
    if isinstance(value, CommentedMap):
        plain = {}
        for key, item in value.items():
            here = (*path, str(key))
            at = _line(value, key) if line is None else line
            if not isinstance(key, str | int) or isinstance(key, bool) or not str(key):
                raise InputError([Problem(file, at, ".".join(map(str, path)), _bad_key(key))])
            places[here] = (file, at)
            plain[str(key)] = _plain(item, here, places, file, line)
        return plain
    if isinstance(value, CommentedSeq):
        items = []
        for index, item in enumerate(value):
            here = (*path, index)
            places[here] = (file, _line(value, index) if line is None else line)
            items.append(_plain(item, here, places, file, line))
        return items
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int) and abs(value) >= 2**63:
        # Decimal ones have been refused by their digits; this one was written otherwise.
        message = "is a whole number beyond 64 bits; it must be smaller"
        raise InputError(
            [Problem(file, line or places[path][1], ".".join(map(str, path)), message)]
        )
    for kind in (int, float, str):  # ruamel keeps the spelling of numbers in subclasses
        if isinstance(value, kind):
            return kind(value)
    return str(value)  # dates and the like: the field they meet says what must stand there


def _bad_key(key: object) -> str:
    """Why a key is none."""
    if key is None or key == "":
        return "has an empty key (nothing, ~ or null before ':'); it must be a name"
    if isinstance(key, bool):
        word = str(key).lower()
        return (
            f"has the key {word}, which is a truth value in YAML; it must be a name, or in quotes"
        )
    return f"has the key {shown(key)!r}; it must be a name"


def _line(node: CommentedMap | CommentedSeq, key: object) -> int:
    """Line of an item; one merged in (``<<: *name``) stands where its mapping does."""
    place = (node.lc.data or {}).get(key)
    return int(node.lc.line if place is None else place[0]) + 1


def _parse_assignment(text: str) -> Assignment:
    key, equals, written = text.partition("=")
    if not equals or not key or not all(key.split(".")):
        raise ValueError("must be key=value, for example optimizer.lr=1e-3")
    if len(text) > MOST_BYTES:
        raise ValueError(f"{shown(written)!r} has {len(text):,} characters; it must be shorter")
    place = _option(text)
    try:
        value = _plain(_parse(written, place), (), {}, place, 0)
    except InputError as error:
        raise ValueError(f"{shown(written)!r} {error.problems[0].message}") from error
    return Assignment(key, value, place)


def _assign(source: Source, assignment: Assignment) -> None:
    path: KeyPath = ()
    node: Any = source.tree
    parent: Any = node
    step: str | int = 0
    for part in assignment.key.split("."):
        parent, step = node, part
        if isinstance(node, list):
            if not part.isdecimal() or int(part) >= len(node):
                raise ValueError(f"{part!r} must be an index from 0 to {len(node) - 1}")
            step = int(part)
        elif not isinstance(node, dict):
            raise ValueError(f"{'.'.join(map(str, path))!r} is a value and has no {part!r}")
        elif "choice" in node and part != "choice":
            where = ".".join(map(str, path))
            raise ValueError(
                f"{where!r} is a choice; give all of it (--set '{where}={{kind: ...}}') or one of "
                f"its options ({where}.choice.0.{part})"
            )
        path = (*path, step)
        if isinstance(node, dict) and step not in node:
            node[step] = {}
            source.places[path] = (assignment.place, 0)
        node = node[step]
    for known in [place for place in source.places if place[: len(path)] == path]:
        del source.places[known]
    source.places[path] = (assignment.place, 0)
    parent[step] = assignment.value


def _option(assignment: str) -> str:
    """The place of what an assignment sets."""
    return f"--set {shown(assignment)}"
