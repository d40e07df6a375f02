"""Domains in the notations of other tools, recognised so that a fault can say how to write them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from search.settings.wording import as_written

# Word -> the form it has here.
RANGES: dict[str, dict[str, object]] = {
    "uniform": {},
    "quniform": {},
    "float": {},
    "range": {},
    "interval": {},
    "bounds": {},
    "loguniform": {"log": True},
    "qloguniform": {"log": True},
    "log_uniform": {"log": True},
    "log_uniform_values": {"log": True},
    "reciprocal": {"log": True},
    "randint": {},
    "int_uniform": {},
    "lograndint": {"log": True},
}
CHOICES = ("grid_search", "grid", "values", "choices", "options", "categorical", "enum", "sample")
ENDS = (("low", "high"), ("min", "max"), ("lower", "upper"), ("minimum", "maximum"))
LOG = ("log", "log_scale", "scale", "prior", "distribution", "type")
CALL = re.compile(r"(?:\w+\.)*(?:suggest_|hp_)?(\w+)\((.*)\)", re.DOTALL)


def domain_here(node: object) -> str | None:
    """Write a domain of another tool's notation as it is written here; None for anything else."""
    if isinstance(node, str):
        return _call(node)
    if not isinstance(node, dict):
        return None
    for word in CHOICES:
        if isinstance(node.get(word), list):
            return as_written({"choice": node[word]})
    for word, form in RANGES.items():
        if isinstance(node.get(word), list):
            return _range(node[word], form | _options(node))
    for low, high in ENDS:
        if low in node and high in node:
            return _range([node[low], node[high]], _options(node))
    return None


def _call(text: str) -> str | None:
    """The same of a function call, such as ``loguniform(1e-4, 1e-2)``."""
    match = CALL.fullmatch(text.strip())
    if match is None:
        return None
    word, inside = match[1].lower(), match[2].strip().strip("[]")
    arguments = [_number(part.strip()) for part in inside.split(",")]
    if word in RANGES:
        numbers = [argument for argument in arguments if not isinstance(argument, str)]
        return _range(numbers, {"log": True} if "log" in text.lower() else {})
    return as_written({"choice": arguments}) if word in (*CHOICES, "choice") else None


def _number(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text.strip("'\"")


def _options(node: Mapping[str, object]) -> dict[str, object]:
    """Whether a range is log, and its step."""
    log = any("log" in str(node[key]) or node[key] is True for key in LOG if key in node)
    steps = [node[key] for key in ("step", "q") if node.get(key) is not None]
    return ({"log": True} if log else {}) | ({"step": steps[0]} if steps and not log else {})


def _range(numbers: list[object], form: Mapping[str, object]) -> str:
    ends = numbers[:2] if len(numbers) >= 2 else ["low", "high"]
    step = {"step": numbers[2]} if len(numbers) == 3 and "log" not in form else {}
    whole = all(isinstance(end, int) for end in ends)
    return as_written({"int" if whole else "float": ends} | step | dict(form))
