"""The trials that a search begins with, before its sampler draws any.

The first is the reference (`search.space.domains.reference`). Beside it stands a trial without a
head, since what a base has aligned already is the score to beat; then come the user's own starting
points (``search.start``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from search.settings.problems import InputError, Problem, shown
from search.space.domains import (
    CASES,
    Choice,
    Domain,
    Picks,
    Range,
    Space,
    kinds,
    middle,
    reference,
)
from search.space.source import KeyPath

_MISSING = object()


def first_picks(space: Space) -> Iterator[Picks]:
    """Picks (as `Space.resolve` calls for them) of the trials that follow the reference.

    Raises:
        InputError: a starting point does not lie in the space.
    """
    identity = identity_picks(space)
    if identity is not None:
        yield identity
    yield from start_picks(space)


def identity_picks(space: Space) -> Picks | None:
    """The trial with mean pooling, no head and the first adapter that trains, in mid-range.

    None where the space has no such trial, or consists of cases.
    """
    if CASES in space.tree:
        return None
    picks: Picks = {}

    def pick(name: str, domain: Domain) -> float:
        picks[name] = _plain(name, domain)
        return picks[name]

    values = space.resolve(pick)
    pooling, head, adapter = (kinds(values.get(name))[0] for name in ("pooling", "head", "adapter"))
    if head != "identity" or adapter in ("none", None):
        return None
    return picks if pooling in ("mean", None) else None


def _plain(name: str, domain: Domain) -> float:
    """What the trial without a head takes of a domain."""
    if isinstance(domain, Range):
        return middle(domain)
    found = kinds(domain)
    if name == "adapter":
        return next((index for index, kind in enumerate(found) if kind != "none"), 0)
    wanted = {"pooling": "mean", "head": "identity"}.get(name)
    return found.index(wanted) if wanted in found else 0


def start_picks(space: Space) -> list[Picks]:
    """The user's starting points, in order.

    A starting point names some settings of a trial, each with a value that the space holds; all
    others are as in the reference trial.

    Raises:
        InputError: with everything in them that does not lie in the space.
    """
    search = space.tree.get("search")
    starts = (search.get("start") if isinstance(search, dict) else None) or []
    placed: list[Picks] = []
    problems: list[tuple[KeyPath, str]] = []
    for index, start in enumerate(starts):
        at: KeyPath = ("search", "start", index)
        if CASES in space.tree:
            problems.append((at, "stands beside 'cases', which are starting points themselves; one "
                                 "of them must be left out"))  # fmt: skip
            continue
        place = _Place(reference(space)[1])
        place.node(space.tree, "", start, at)
        placed.append(place.picks)
        problems += place.faults
    if problems:
        raise InputError([_problem(space, path, message) for path, message in problems])
    return placed


def _problem(space: Space, path: KeyPath, message: str) -> Problem:
    return space.source.problem(path, message)


class _Place:
    """Finds the point of a space at which some settings have given values.

    Args:
        others: picks of the domains that are not given.

    Attributes:
        picks: of the point.
        faults: where no point has the given value, the path of that value and why.
    """

    def __init__(self, others: Mapping[str, float]) -> None:
        self._others = others
        self.picks: Picks = {}
        self.faults: list[tuple[KeyPath, str]] = []

    def node(self, node: object, name: str, given: object, path: KeyPath) -> None:
        """Match a part of the space with what is given for it."""
        if isinstance(node, Choice):
            self._choice(node, name, given, path)
        elif isinstance(node, Range):
            self._range(node, name, given, path)
        elif isinstance(node, dict) and given is _MISSING:
            self._mapping(node, name, {}, path)
        elif isinstance(node, dict) and isinstance(given, dict):
            self._mapping(node, name, given, path)
        elif given is not _MISSING and (given != node or type(given) is not type(node)):
            self._fault(path, f"is {shown(given)}, but the space holds {shown(node)} alone; it "
                              f"must be that, or the space a choice of both")  # fmt: skip

    def _fault(self, path: KeyPath, message: str) -> None:
        self.faults.append((path, message))

    def _mapping(
        self, node: Mapping[str, object], name: str, given: Mapping[str, object], path: KeyPath
    ) -> None:
        for key in given:
            if key not in node:
                self._fault((*path, key), f"is given, but the space does not set it; it must be "
                                          f"among {', '.join(node)}")  # fmt: skip
        for key, child in node.items():
            below = f"{name}.{key}" if name else key
            self.node(child, below, given.get(key, _MISSING), (*path, key))

    def _choice(self, domain: Choice, name: str, given: object, path: KeyPath) -> None:
        if given is _MISSING:
            index = self._others.get(name, 0)
            self._take(domain, name, int(index), _MISSING, path)
            return
        candidates = [i for i, option in enumerate(domain.options) if _may_be(option, given)]
        attempts = []
        for index in candidates:
            attempt = _Place(self._others)
            attempt._take(domain, name, index, given, path)
            attempts.append(attempt)
        if not attempts:
            self._fault(path, f"is {shown(given)}; it must be one of the space's options, "
                              f"{', '.join(domain.labels)}")  # fmt: skip
            return
        best = min(attempts, key=lambda attempt: len(attempt.faults))
        self.picks |= best.picks
        self.faults += best.faults

    def _take(self, domain: Choice, name: str, index: int, given: object, path: KeyPath) -> None:
        self.picks[name] = index
        self.node(domain.options[index], f"{name}.{domain.labels[index]}", given, path)

    def _range(self, domain: Range, name: str, given: object, path: KeyPath) -> None:
        if given is _MISSING:
            self.picks[name] = self._others.get(name, middle(domain))
            return
        if (
            not isinstance(given, int | float)
            or isinstance(given, bool)
            or not domain.low <= given <= domain.high
        ):
            self._fault(path, f"is {shown(given)}; it must be a number in the space's range, from "
                              f"{domain.low:g} to {domain.high:g}")  # fmt: skip
            return
        step = domain.step or (1 if domain.integer else None)
        off = 0.0 if step is None else (given - domain.low) / step % 1
        if min(off, 1 - off) > 1e-9:
            self._fault(path, f"is {given}; it must be {domain.low:g} plus a multiple of {step:g}, "
                              f"as the space has it")  # fmt: skip
            return
        self.picks[name] = int(given) if domain.integer else float(given)


def _may_be(option: object, given: object) -> bool:
    """Whether an option is the one that is meant, whatever else is in it."""
    if isinstance(option, dict) and isinstance(given, dict):
        return "kind" not in given or option.get("kind") == given["kind"]
    if isinstance(option, dict) or isinstance(given, dict):
        return False
    return isinstance(option, Choice | Range) or (option == given and type(option) is type(given))
