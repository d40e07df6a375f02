"""Sets of values that together show every option of a space, to check it before a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from search.space.domains import CASES, Choice, Range, Space, Values, as_mapping, fold, middle
from search.space.source import KeyPath


@dataclass(frozen=True)
class Probe:
    """One full set of values, and for every value the place in the source that it came from."""

    values: Values
    origins: Mapping[KeyPath, KeyPath]

    def origin_of(self, path: KeyPath) -> KeyPath:
        """Where in the source a key stands, or would stand beside what was written."""
        known = path
        while known and known not in self.origins:
            known = known[:-1]
        return (*self.origins[known], *path[len(known) :])


def probes(space: Space) -> Iterator[Probe]:
    """Sets of values that together take every option of every choice and both ends of every range,
    and its middle.

    Each differs from the first of its case by one domain (and by what exists only under its value),
    so a fault of any value shows in some probe and the number of probes is that of the options of
    each case, not of their combinations.
    """
    for tree in _by_case(space.tree):
        for values, origins in _probe_all(tree, (), ()):
            yield Probe(fold(values), _folded_origins(values, origins))


def _by_case(tree: Values) -> Iterator[Values]:
    """The tree with each of its cases alone, since one may hide options that another leaves."""
    cases = tree.get(CASES)
    if not isinstance(cases, Choice):
        yield tree
        return
    for option, label, origin in zip(cases.options, cases.labels, cases.origins, strict=True):
        yield {**tree, CASES: Choice((option,), (label,), (origin,))}


Origins = dict[KeyPath, KeyPath]


def _folded_origins(values: Values, origins: Origins) -> Origins:
    """Where the values came from once a case lies over the sections."""
    folded = {path: origin for path, origin in origins.items() if path[:1] != (CASES,)}
    for key, section in as_mapping(values.get(CASES)).items():
        if not isinstance(section, dict) or "kind" in section:
            folded = {path: origin for path, origin in folded.items() if path[:1] != (key,)}
    for path, origin in origins.items():
        if path[:1] == (CASES,) and len(path) > 1:
            folded[path[1:]] = origin
    return folded


def _probe_all(nodes: Values, path: KeyPath, origin: KeyPath) -> Iterator[tuple[Values, Origins]]:
    children = {
        key: list(_probe(child, (*path, key), (*origin, key))) for key, child in nodes.items()
    }
    first = {key: alternatives[0] for key, alternatives in children.items()}
    yield _join(first, path, origin)
    for key, alternatives in children.items():
        for alternative in alternatives[1:]:
            yield _join(first | {key: alternative}, path, origin)


def _probe(node: object, path: KeyPath, origin: KeyPath) -> Iterator[tuple[object, Origins]]:
    if isinstance(node, dict):
        yield from _probe_all(node, path, origin)
    elif isinstance(node, Choice):
        for option, where in zip(node.options, node.origins, strict=True):
            yield from _probe(option, path, where)
    elif isinstance(node, Range):
        kind = int if node.integer else float
        # The middle first: the ends of several ranges at once may be at odds (weights all zero).
        for value in dict.fromkeys((kind(middle(node)), kind(node.low), kind(node.high))):
            yield value, {path: origin}
    else:
        yield node, {path: origin}


def _join(
    children: Mapping[str, tuple[object, Origins]], path: KeyPath, origin: KeyPath
) -> tuple[Values, Origins]:
    origins: Origins = {path: origin}
    for _, below in children.values():
        origins |= below
    return {key: value for key, (value, _) in children.items()}, origins
