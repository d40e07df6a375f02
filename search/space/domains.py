"""The space: a trial config in which leaves, or whole components, are domains.

Domains are ``{choice: [...]}``, ``{int: [low, high], step: 2}``, ``{float: [low, high], log:
true}``. A domain inside an option of a choice exists only when that option is taken. The cases of a
space are a choice too: each replaces, or adds to, the sections that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from search.settings.problems import Problem
from search.space.source import KeyPath, Source

if TYPE_CHECKING:
    from search.space.probes import Probe


@dataclass(frozen=True)
class Choice:
    """One of several options, each a value or a subtree that may hold further domains.

    Attributes:
        labels: a distinct name an option: its ``kind``, or the value itself.
    """

    options: tuple[object, ...]
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
Values = dict[str, object]  # nested plain values of a space file
Picks = dict[str, float]  # name of a domain -> index of a choice's option, or a range's number
Pick = Callable[[str, Domain], float]
DOMAIN_KEYS = ("choice", "int", "float")
CASES = "cases"


def is_domain(node: object) -> bool:
    """Whether a mapping of a space file is a domain."""
    return isinstance(node, dict) and any(key in node for key in DOMAIN_KEYS)


@dataclass(frozen=True)
class Space:
    """A tree of plain values and domains.

    Attributes:
        tree: nested dicts and lists; domains are `Choice` and `Range`.
        source: where each part of it was written.
    """

    tree: Values
    source: Source

    def resolve(self, pick: Pick) -> Values:
        """Give every domain one of its values.

        Args:
            pick: called with a domain's name and the domain, that of the cases first and then in
                order of the file, and only for domains that exist under the choices made before;
                returns the index of a choice's option, or a range's number.

        Returns:
            Nested plain values.
        """
        tree = self.tree
        if CASES in tree:  # what a case replaces is not asked for
            tree = fold({**tree, CASES: _resolve(tree[CASES], CASES, pick)})
        return _resolve_all(tree, "", pick)

    def at(self, picks: Mapping[str, float]) -> Values:
        """Resolve the space with the picks of all domains that exist under these."""
        return self.resolve(lambda name, _: picks[name])

    def domains(self) -> dict[str, Domain]:
        """Every domain by its name, under whatever choices."""
        return {name: domain for name, domain, _ in self.written()}

    def written(self) -> Iterator[tuple[str, Domain, KeyPath]]:
        """Every domain's name, the domain, and where in the source it stands."""
        yield from _domains(self.tree, "", ())

    def problem(self, probe: Probe, key: str, message: str) -> Problem:
        """Make a problem of a probe's key, at the place in the source where it is written."""
        return self.source.problem(probe.origin_of(tuple(key.split("."))), message, key)


def fold(values: Values) -> Values:
    """Lay a case, all of its domains resolved, over the sections beside it.

    A component takes the place of the one that stands there; of other sections, the keys do.
    """
    folded = {key: section for key, section in values.items() if key != CASES}
    for key, section in as_mapping(values.get(CASES)).items():
        folded[key] = _over(folded.get(key), section)
    return folded


def as_mapping(node: object) -> Values:
    return node if isinstance(node, dict) else {}


def _over(beside: object, section: object) -> object:
    if not isinstance(section, dict) or "kind" in section:
        return section
    if isinstance(beside, Choice):
        return replace(beside, options=tuple(_over(o, section) for o in beside.options))
    return {**beside, **section} if isinstance(beside, dict) else section


def _name(name: str, node: object, label: str | None = None) -> str:
    """Name of a child: options with settings of their own carry their label."""
    return f"{name}.{label}" if name and label else name or str(label)


def _resolve_all(nodes: Values, name: str, pick: Pick) -> Values:
    return {key: _resolve(child, _name(name, nodes, key), pick) for key, child in nodes.items()}


def _resolve(node: object, name: str, pick: Pick) -> object:
    if isinstance(node, dict):
        return _resolve_all(node, name, pick)
    if isinstance(node, Choice):
        index = int(pick(name, node))
        return _resolve(node.options[index], _name(name, node, node.labels[index]), pick)
    if isinstance(node, Range):
        return pick(name, node)
    return node


def _domains(node: object, name: str, origin: KeyPath) -> Iterator[tuple[str, Domain, KeyPath]]:
    if isinstance(node, dict):
        for key, child in node.items():
            yield from _domains(child, _name(name, node, key), (*origin, key))
    if isinstance(node, Choice):
        yield name, node, origin
        for option, label, where in zip(node.options, node.labels, node.origins, strict=True):
            yield from _domains(option, _name(name, node, label), where)
    if isinstance(node, Range):
        yield name, node, origin


REFERENCE_TRIAL = 0  # number of the reference among a search's trials
REFERENCE_KINDS = {"pooling": "mean", "head": "linear", "adapter": "none"}


def reference(space: Space) -> tuple[Values, Picks]:
    """The reference trial: frozen base, mean pooling, linear head; what every other has to beat.

    Everything else is in the middle of its range (of the exponents, where the range is log), or
    the first of its options; of the cases, the first that leaves these components as they are.
    Where the space holds no such component, the plain one with default settings takes its place;
    in a case, it is a trial of no case then.

    Returns:
        Its values, and the picks (as `Space.resolve` calls for them) that lie in the space.
    """
    picks: Picks = {}

    def pick(name: str, domain: Domain) -> float:
        if isinstance(domain, Range):
            picks[name] = middle(domain)
        elif name == CASES:
            plain = (i for i, case in enumerate(domain.options) if _is_plain(as_mapping(case)))
            picks[name] = next(plain, 0)
        else:
            family = name.rpartition(".")[2]  # in a case, more stands before it
            wanted = REFERENCE_KINDS.get(family)
            all_kinds = kinds(domain)
            picks[name] = all_kinds.index(wanted) if wanted in all_kinds else 0
        return picks[name]

    values = space.resolve(pick)
    cases = space.tree.get(CASES)
    case = as_mapping(cases.options[int(picks[CASES])]) if isinstance(cases, Choice) else {}
    for family, kind in REFERENCE_KINDS.items():
        chosen = as_mapping(values.get(family, {"kind": kind}))
        if chosen["kind"] != kind:
            values[family] = {"kind": kind} | {k: v for k, v in chosen.items() if k == "width"}
            gone = family
            if family in case:
                gone = CASES
                values.pop("case", None)
            for name in [n for n in picks if n == gone or n.startswith(f"{gone}.")]:
                del picks[name]
    return values, picks


def _is_plain(case: Mapping[str, object]) -> bool:
    return all(
        kind in kinds(case[family]) for family, kind in REFERENCE_KINDS.items() if family in case
    )


def kinds(component: object) -> list[str | None]:
    """List the kinds that a component of a space may have; None for an option without one."""
    options = component.options if isinstance(component, Choice) else (component,)
    return [o.get("kind") if isinstance(o, dict) else None for o in options]


def middle(domain: Range) -> float | int:
    """The middle of a range, on its grid."""
    low, high = domain.low, domain.high
    value = (low * high) ** 0.5 if domain.log else (low + high) / 2
    if domain.step is not None:
        value = low + domain.step * round((value - low) / domain.step)
        value = value if value <= high else value - domain.step
    return round(value) if domain.integer else value
