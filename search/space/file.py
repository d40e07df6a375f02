"""Space file -> space, with every fault found at once and before anything starts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, model_validator

from components.config import Config
from search.settings.problems import InputError, Problem, nearest, shown
from search.space.domains import CASES, Choice, Probe, Range, Space, is_domain, probes
from search.space.first_trials import start_picks
from search.space.grid import MOST_POINTS, points, size
from search.space.run_config import FIXED_SECTIONS, RunConfig
from search.space.source import KeyPath, Source, read


class ChoiceSpec(Config):
    """How a choice is written."""

    choice: Annotated[list[Any], Field(min_length=1)]


class RangeSpec(Config):
    """How a range is written."""

    log: bool = False
    ends: Any
    step: Any = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.ends
        if low > high:
            raise ValueError(f"runs from {low} to {high}; the first must not exceed the second")
        if self.log and low <= 0:
            raise ValueError(f"is log and starts at {low}; a log range must start above 0")
        if self.log and self.step is not None:
            raise ValueError("has both log and step; it must have one of them at most")
        if self.step is not None:
            # As decimals, as they were written: 0.3 - 0.1 is no multiple of 0.1 in binary.
            low, high, step = (Decimal(str(n)) for n in (*self.ends, self.step))
            last = low + (high - low) // step * step
            if last != high:
                where = f"the range from {low} to {high}"
                how = "is larger than" if step > high - low else "does not divide"
                raise ValueError(
                    f"step is {step}, which {how} {where}; the range must end on a step, such as "
                    f"{last if last > low else low + step}"
                )
        return self


class IntSpec(RangeSpec):
    """``{int: [low, high]}``."""

    ends: Annotated[list[int], Field(min_length=2, max_length=2, alias="int")]
    step: Annotated[int, Field(ge=1)] | None = None


class FloatSpec(RangeSpec):
    """``{float: [low, high]}``."""

    ends: Annotated[list[float], Field(min_length=2, max_length=2, alias="float")]
    step: Annotated[float, Field(gt=0)] | None = None


# Case names stand in tables, CSV files, the study and the terminal: nothing that cannot be printed,
# and no first character that a spreadsheet takes for a formula.
CASE_NAME = re.compile(r"\w[\w .,:;+/()\[\]&=%@#'-]{0,59}")

BROKEN = object()  # stands in the tree for a domain that is none
SPECS: dict[str, type[Config]] = {"choice": ChoiceSpec, "int": IntSpec, "float": FloatSpec}
KEYS = {"choice": (), "int": ("log", "step"), "float": ("log", "step")}  # beside the first


def load_space(file: Path, assignments: Sequence[str] = ()) -> tuple[Space, RunConfig]:
    """Read a space file.

    Args:
        file: the space file.
        assignments: ``key=value``, in force over what the file says.

    Returns:
        The space, and the run config of its first probe: its sections ``search``, ``lane``,
        ``data`` and ``base`` hold for every trial.

    Raises:
        InputError: with every fault of the file.
    """
    return space_of(read(file, assignments))


def space_of(source: Source) -> tuple[Space, RunConfig]:
    """The same of what has been read.

    Raises:
        InputError: with every fault.
    """
    problems: list[Problem] = []
    if "case" in source.tree:
        problems.append(
            source.problem(("case",), f"stands outside a case; it must be in the list {CASES!r}")
        )
    tree = _tree(source, source.tree, (), problems)
    space = Space(tree, source)
    configs: list[RunConfig] = []
    ranges = {at: domain for _, domain, at in space.written() if isinstance(domain, Range)}
    for probe in probes(space):
        try:
            configs.append(RunConfig.model_validate(probe.values))
        except ValidationError as error:
            problems += _problems(source, probe, error, ranges)
    if configs and configs[0].search.sampler.is_exhaustive:
        problems += list(_no_grid(space)) or _too_large(space, configs[0].search.trials)
    if problems:
        raise InputError(_joined(problems))
    start_picks(space)
    return space, configs[0]


def _no_grid(space: Space) -> Iterator[Problem]:
    """The domains that a grid cannot go through, by their names."""
    for name, domain, origin in space.written():
        try:
            points(domain)
        except ValueError as error:
            yield space.source.problem(origin, str(error), name)


def _too_large(space: Space, trials: int | None) -> list[Problem]:
    """A grid that nobody would train to its end."""
    points = size(space)
    if trials is not None or points <= MOST_POINTS:
        return []
    path = ("search", "sampler", "kind")
    message = (
        f"is 'grid', which has {points:,.0f} combinations here; it must have at most "
        f"{MOST_POINTS:,}, or search.trials must say how many of them to train"
    )
    return [space.source.problem(path, message)]


def _joined(problems: Sequence[Problem]) -> list[Problem]:
    """Where a key may be of several types, each refuses the value; say it once."""
    joined: dict[tuple[str, int, str, str], Problem] = {}
    for problem in dict.fromkeys(problems):
        given, _, must = problem.message.partition("; it must be ")
        place = (problem.file, problem.line, problem.key, given)
        if must and place in joined:
            problem = replace(joined[place], message=f"{joined[place].message}, or {must}")
        joined[place] = problem
    return list(joined.values())


def _tree(source: Source, node: Any, path: KeyPath, problems: list[Problem]) -> Any:
    """Replace what is written as a domain by the domain."""
    if path == (CASES,):
        return _cases(source, node, problems)
    if is_domain(node):
        if not path:
            problems.append(source.problem(path, "is a domain; a space file must hold sections"))
            return BROKEN
        if path[0] in FIXED_SECTIONS:
            problems.append(
                source.problem(
                    path,
                    f"is a domain; {path[0]!r} holds for the whole search, so it must be one value",
                )
            )
            return BROKEN
        return _domain(source, node, path, problems)
    if isinstance(node, dict):
        return {key: _tree(source, child, (*path, key), problems) for key, child in node.items()}
    return node


def _cases(source: Source, node: Any, problems: list[Problem]) -> Any:
    """The cases of a space: a choice of parts of a config, each with a name."""
    if not isinstance(node, list) or not node or not all(isinstance(case, dict) for case in node):
        problems.append(source.problem((CASES,), "must be a list of mappings, one a case"))
        return BROKEN
    origins = tuple((CASES, index) for index in range(len(node)))
    fixed = (*FIXED_SECTIONS, CASES)
    for case, origin in zip(node, origins, strict=True):
        problems += [
            source.problem(
                (*origin, key), f"stands in a case; {key!r} must be the same for all trials"
            )
            for key in case
            if key in fixed
        ]
    names = [str(case.get("case", f"case {index + 1}")) for index, case in enumerate(node)]
    for index, name in enumerate(names):
        if not CASE_NAME.fullmatch(name):
            problems.append(
                source.problem(
                    (*origins[index], "case"),
                    f"is {shown(name)!r}; it must be a name of at most 60 letters, digits, spaces "
                    f"and ordinary signs, that starts with a letter or digit",
                )
            )
        if name in names[:index]:
            problems.append(source.problem(origins[index], f"has a name, {name!r}, given twice"))
    options = tuple(
        {"case": name}
        | {
            key: _tree(source, child, (*origin, key), problems)
            for key, child in case.items()
            if key not in fixed
        }
        for name, case, origin in zip(names, node, origins, strict=True)
    )
    return Choice(options, tuple(names), origins)


def _domain(source: Source, node: dict[str, Any], path: KeyPath, problems: list[Problem]) -> Any:
    form = next(key for key in SPECS if key in node)
    try:
        spec = SPECS[form].model_validate(node)
    except ValidationError as error:
        for fault in error.errors():
            at: KeyPath = (*path, *fault["loc"])
            message = _sentence(fault, [form, *KEYS[form]])
            if message.startswith("step is "):
                at, message = (*path, "step"), message.removeprefix("step ")
            problems.append(source.problem(at, message))
        return BROKEN
    if isinstance(spec, IntSpec | FloatSpec):
        integer = isinstance(spec, IntSpec)
        low, high = spec.ends
        return Range(low, high, integer, spec.log, spec.step)
    assert isinstance(spec, ChoiceSpec)
    origins = tuple((*path, "choice", index) for index in range(len(spec.choice)))
    options = tuple(
        _tree(source, option, origin, problems)
        for option, origin in zip(spec.choice, origins, strict=True)
    )
    for index, option in enumerate(spec.choice):
        if any(type(option) is type(o) and option == o for o in spec.choice[:index]):
            problems.append(source.problem(origins[index], "is given twice in this choice"))
    return Choice(options, tuple(_labels(spec.choice)), origins)


def _labels(options: Sequence[Any]) -> Iterator[str]:
    """A distinct, telling name for each option."""
    names = [
        str(option.get("kind", "options")) if isinstance(option, dict) else str(option)
        for option in options
    ]
    for index, name in enumerate(names):
        yield name if names.count(name) == 1 else f"{name}#{names[:index].count(name) + 1}"


def _problems(
    source: Source, probe: Probe, error: ValidationError, ranges: Mapping[KeyPath, Range]
) -> Iterator[Problem]:
    """Pydantic's faults of a probe, at the lines the values were written in."""
    for fault in error.errors():
        given = fault["input"]
        kind = given.get("kind") if isinstance(given, dict) else None
        if given is BROKEN or kind is BROKEN:
            continue  # a malformed domain, which has been reported as such
        path = _untagged(probe.values, fault["loc"])
        origin = probe.origin_of(path)
        if origin in ranges and fault["input"] not in (ranges[origin].low, ranges[origin].high):
            continue  # the middle, which nobody wrote; an end is at fault too
        known = _known_keys(probe.values, path[:-1]) if path[1:] else _sections(origin)
        message = _sentence(fault, known)
        key, _, rest = message.partition(" ")
        if fault["type"] == "value_error" and key in _known_keys(probe.values, path):
            # A fault of several keys of a section begins with the one to change.
            path, message = (*path, key), rest
            origin = probe.origin_of(path)
        yield source.problem(origin, message, ".".join(map(str, path)))


def _untagged(values: Any, loc: Sequence[Any]) -> KeyPath:
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


def _sections(origin: KeyPath) -> list[str]:
    """Legal keys of the file, or of one of its cases."""
    if origin[0] == CASES:
        return [key for key in RunConfig.model_fields if key not in FIXED_SECTIONS]
    return [CASES if key == "case" else key for key in RunConfig.model_fields]


def _known_keys(values: Any, path: KeyPath) -> list[str]:
    """Keys that are legal beside the one at fault."""
    model: type[BaseModel] = RunConfig
    node = values
    for step in path:
        node = node[step]
        field = model.model_fields.get(str(step))
        if field is None:
            return []
        kind = node.get("kind") if isinstance(node, dict) else None
        models = list(_models(field.annotation))
        named = [m for m in models if "kind" in m.model_fields
                 and m.model_fields["kind"].default == kind]  # fmt: skip
        if not models:
            return []
        model = (named or models)[0]
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated):
        for part in get_args(annotation):
            yield from _models(part)


def _sentence(fault: Mapping[str, Any], known: Sequence[str]) -> str:
    """One sentence: what was given, and what must be."""
    kind, given, context = fault["type"], fault.get("input"), fault.get("ctx", {})
    if kind == "extra_forbidden":
        key = str(fault["loc"][-1])
        return f"is no known key; it must be among {', '.join(known)}{nearest(key, known)}"
    if kind == "missing":
        return "is missing; it must be given"
    if kind == "model_type":
        return f"is {_short(given)}; it must be a mapping of settings"
    if kind in ("union_tag_not_found", "model_attributes_type"):
        example = f", such as {{kind: {given}}}" if isinstance(given, str) else ""
        return f"is {_short(given)}; it must be a mapping with a 'kind'{example}"
    if kind in ("union_tag_invalid", "literal_error"):
        got = context.get("tag", given)
        legal = [word.strip("'") for word in str(context.get("expected_tags") or
                 context["expected"]).replace(" or ", ", ").split(", ")]  # fmt: skip
        return f"is {_short(got)}; it must be one of {', '.join(legal)}{nearest(got, legal)}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        return message
    must = message.replace("Input should be", "it must be").replace("List should", "it must")
    must = must.replace("String should", "it must").replace("Dictionary should", "it must")
    must = must.replace(" after validation, not", ", not")
    if kind == "bool_type" and str(given).lower() in ("yes", "no", "on", "off", "y", "n"):
        must = "it must be true or false (YAML 1.2 reads yes, no, on and off as words)"
    if kind == "string_type" and isinstance(given, bool):
        must += ", in quotes if this is the word"
    return f"is {_short(given)}; {must}"


def _short(value: Any) -> str:
    """A value as it is shown in a sentence: of a long one, the beginning and the end."""
    return shown(repr(value), 200)
