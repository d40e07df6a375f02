"""The space: a trial config in which leaves, or whole components, are domains.

Domains are ``{choice: [...]}``, ``{int: [low, high], step: 2}``, ``{float: [low, high], log:
true}``. A domain inside an option of a choice exists only when that option is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from search.source import KeyPath, Source


@dataclass(frozen=True)
class Choice:
    """One of several options, each a value or a subtree that may hold further domains.

    Attributes:
        labels: a distinct name an option: its ``kind``, or the value itself.
    """

    options: tuple[Any, ...]
    labels: tuple[str, ...]
    origins: tuple[KeyPath, ...]


@dataclass(frozen=True)
class Range:
    """Whole or real numbers from low to high, both included."""

    low: float
    high: float
    integer: bool
    log: bool
    step: float | None


Domain = Choice | Range
DOMAIN_KEYS = ("choice", "int", "float")


def is_domain(node: Any) -> bool:
    """Whether a mapping of a space file is a domain."""
    return isinstance(node, dict) and any(key in node for key in DOMAIN_KEYS)


@dataclass(frozen=True)
class Space:
    """A tree of plain values and domains.

    Attributes:
        tree: nested dicts and lists; domains are `Choice` and `Range`.
        source: where each part of it was written.
    """

    tree: dict[str, Any]
    source: Source

    def resolve(self, pick: Callable[[str, Domain], Any]) -> dict[str, Any]:
        """Give every domain one of its values.

        Args:
            pick: called with a domain's name and the domain, in order of the file and only for
                domains that exist under the choices made before; returns the index of a choice's
                option, or a range's number.

        Returns:
            Nested plain values.
        """
        resolved: dict[str, Any] = _resolve(self.tree, "", pick)
        return resolved

    def domains(self) -> dict[str, Domain]:
        """Every domain by its name, under whatever choices."""
        return dict(_domains(self.tree, ""))


def _name(name: str, node: Any, label: str | None = None) -> str:
    """Name of a child: options with settings of their own carry their label."""
    return f"{name}.{label}" if name and label else name or str(label)


def _resolve(node: Any, name: str, pick: Callable[[str, Domain], Any]) -> Any:
    if isinstance(node, dict):
        return {key: _resolve(child, _name(name, node, key), pick) for key, child in node.items()}
    if isinstance(node, Choice):
        index = pick(name, node)
        return _resolve(node.options[index], _name(name, node, node.labels[index]), pick)
    if isinstance(node, Range):
        return pick(name, node)
    return node


def _domains(node: Any, name: str) -> Iterator[tuple[str, Domain]]:
    if isinstance(node, dict):
        for key, child in node.items():
            yield from _domains(child, _name(name, node, key))
    if isinstance(node, Choice):
        yield name, node
        for option, label in zip(node.options, node.labels, strict=True):
            yield from _domains(option, _name(name, node, label))
    if isinstance(node, Range):
        yield name, node


@dataclass(frozen=True)
class Probe:
    """One full set of values, and for every value the place in the source that it came from."""

    values: dict[str, Any]
    origins: Mapping[KeyPath, KeyPath]

    def origin_of(self, path: KeyPath) -> KeyPath:
        """Where in the source a key stands, or would stand beside what was written."""
        known = path
        while known and known not in self.origins:
            known = known[:-1]
        return (*self.origins[known], *path[len(known) :])


def probes(space: Space) -> Iterator[Probe]:
    """Sets of values that together take every option of every choice and both ends of every range.

    Each differs from the first by one domain (and by what exists only under its value), so a fault
    of any value shows in some probe and the number of probes is that of the options, not of their
    combinations.
    """
    for values, origins in _probe(space.tree, (), ()):
        yield Probe(values, origins)


def _probe(node: Any, path: KeyPath, origin: KeyPath) -> Iterator[tuple[Any, dict[Any, Any]]]:
    if isinstance(node, dict):
        children = {
            key: list(_probe(child, (*path, key), (*origin, key))) for key, child in node.items()
        }
        first = {key: alternatives[0] for key, alternatives in children.items()}
        yield _join(first, path, origin)
        for key, alternatives in children.items():
            for alternative in alternatives[1:]:
                yield _join(first | {key: alternative}, path, origin)
    elif isinstance(node, Choice):
        for option, where in zip(node.options, node.origins, strict=True):
            yield from _probe(option, path, where)
    elif isinstance(node, Range):
        kind = int if node.integer else float
        for end in dict.fromkeys((kind(node.low), kind(node.high))):
            yield end, {path: origin}
    else:
        yield node, {path: origin}


def _join(
    children: dict[str, tuple[Any, dict[Any, Any]]], path: KeyPath, origin: KeyPath
) -> tuple[dict[str, Any], dict[Any, Any]]:
    origins: dict[Any, Any] = {path: origin}
    for _, below in children.values():
        origins |= below
    return {key: value for key, (value, _) in children.items()}, origins


REFERENCE = {"pooling": "mean", "head": "linear", "adapter": "none"}


def reference(space: Space) -> tuple[dict[str, Any], dict[str, Any]]:
    """The reference trial: frozen base, mean pooling, linear head; what every other has to beat.

    Everything else is in the middle of its range (of the exponents, where the range is log), or
    the first of its options. Where the space holds no such component, the plain one with default
    settings takes its place.

    Returns:
        Its values, and the picks (as `Space.resolve` calls for them) that lie in the space.
    """
    picks: dict[str, Any] = {}

    def pick(name: str, domain: Domain) -> Any:
        if isinstance(domain, Choice):
            wanted = REFERENCE.get(name)
            kinds = [o.get("kind") if isinstance(o, dict) else None for o in domain.options]
            picks[name] = kinds.index(wanted) if wanted in kinds else 0
        else:
            picks[name] = middle(domain)
        return picks[name]

    values = space.resolve(pick)
    for family, kind in REFERENCE.items():
        chosen = values.get(family, {"kind": kind})
        if chosen["kind"] != kind:
            values[family] = {"kind": kind} | {k: v for k, v in chosen.items() if k == "width"}
            for name in [n for n in picks if n == family or n.startswith(f"{family}.")]:
                del picks[name]
    return values, picks


def middle(domain: Range) -> float | int:
    """The middle of a range, on its grid."""
    low, high = domain.low, domain.high
    value = (low * high) ** 0.5 if domain.log else (low + high) / 2
    if domain.step is not None:
        value = low + domain.step * round((value - low) / domain.step)
        value = value if value <= high else value - domain.step
    return round(value) if domain.integer else value
