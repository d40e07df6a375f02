"""Every point of a space."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from search.settings.trial import READ_BY_TRAINING, TrialConfig
from search.space.domains import (
    CASES,
    Choice,
    Domain,
    Picks,
    Range,
    Space,
    Values,
    fold,
    reference,
)

# The most numbers of one range that a grid takes.
GRID_NUMBERS = 100
# The most combinations of a grid of which all are to be trained.
MOST_POINTS = 10_000
# The most combinations that are compared to count the distinct ones among them.
MOST_COUNTED = 10_000


def grid(
    space: Space,
    refuse: Callable[[Mapping[str, object]], str] = lambda values: "",
    numbers_of: Callable[[Domain], Sequence[float]] | None = None,
) -> Iterator[tuple[Values, Picks]]:
    """Every combination of the options of choices and the numbers of ranges.

    Args:
        refuse: why some values make no sense, or nothing; they are left out.
        numbers_of: what to take of a domain; `points` by default.

    Yields:
        Values, and the picks that led to them.

    Raises:
        ValueError: a range is no list of numbers.
    """
    taken: list[int] = []
    while True:
        picks: Picks = {}
        places: list[int] = []
        sizes: list[int] = []

        def pick(name: str, domain: Domain) -> float:
            numbers = (numbers_of or points)(domain)
            place = taken[len(places)] if len(places) < len(taken) else 0  # noqa: B023
            places.append(place)  # noqa: B023
            sizes.append(len(numbers))  # noqa: B023
            picks[name] = numbers[place]  # noqa: B023
            return numbers[place]

        values = space.resolve(pick)
        if not refuse(values):
            yield values, picks
        # The last domain counts on; where it is through, the one before it does.
        while places and places[-1] + 1 == sizes[-1]:
            places.pop()
            sizes.pop()
        if not places:
            return
        taken = [*places[:-1], places[-1] + 1]


@dataclass(frozen=True)
class Distinct:
    """How many configs of a space differ.

    Attributes:
        count: of the distinct ones, the reference among them.
        complete: whether these are all.
        repeats: combinations that are the same config as another combination.
    """

    count: int
    complete: bool
    repeats: int = 0


def distinct(
    space: Space, refuse: Callable[[Mapping[str, object]], str], most: int | None
) -> Distinct:
    """Count the distinct trial configs of a space, the reference among them.

    Values that are refused do not count; options that lead to the same config count once.

    Args:
        refuse: as `grid` takes it.
        most: the counting ends here; None for no end.

    Returns:
        The count; it is not complete where it ended at ``most``, or after `MOST_COUNTED`
        combinations, or where a range holds numbers without end.
    """
    first = identity(TrialConfig.of(reference(space)[0]))
    if size(space) == math.inf:
        return Distinct(1, complete=False)
    points: set[str] = set()
    repeats = 0
    for tried, (values, _) in enumerate(grid(space, refuse, numbers)):
        count = len(points) + (first not in points)
        if (most is not None and count >= most) or tried >= MOST_COUNTED:
            return Distinct(count, complete=False, repeats=repeats)
        known = len(points)
        points.add(identity(TrialConfig.of(values)))
        repeats += len(points) == known
    return Distinct(len(points) + (first not in points), complete=True, repeats=repeats)


def identity(trial: TrialConfig) -> str:
    """What two trials share if training the second would only repeat the first.

    The name of a case is not part of it: it changes nothing in the training. Of an encoder in which
    nothing trains, neither is what only training reads; nor are settings for parts that have no
    parameters.
    """
    if not trial.trains:
        return trial.model_dump_json(exclude={"case", *READ_BY_TRAINING})
    idle = {"training": {"pairs_seed"}}  # None stands for another setting's value
    for key in trial.idle:
        section, _, name = key.partition(".")
        idle.setdefault(section, set()).add(name)
    read = trial.model_dump_json(exclude={"case": True, **idle})
    return f"{read} {trial.training.seed_of_pairs}"


def size(space: Space) -> float:
    """Number of combinations of a space, by arithmetic; infinite where a range has no steps.

    Those that are refused are counted, and so is each of several that are the same config.
    """
    cases = space.tree.get(CASES)
    if not isinstance(cases, Choice):
        return _size(space.tree)
    # What a case replaces is gone once it is laid over the sections, and its own domains are there.
    return sum(_size(fold({**space.tree, CASES: case})) for case in cases.options)


def _size(node: object) -> float:
    if isinstance(node, dict):
        return math.prod(map(_size, node.values()))
    if isinstance(node, Choice):
        return sum(map(_size, node.options))
    return _count(node) if isinstance(node, Range) else 1


def _count(domain: Range) -> float:
    """How many numbers a range holds."""
    step = domain.step or (1 if domain.integer else None)
    if step is None:
        return 1 if domain.low == domain.high else math.inf
    return math.floor((domain.high - domain.low) / step + 1e-9) + 1


def numbers(domain: Domain) -> Sequence[float]:
    """Everything that a sampler may take of a domain of which `size` is finite."""
    if isinstance(domain, Choice):
        return range(len(domain.options))
    count = int(_count(domain))
    if domain.integer:
        step = int(domain.step or 1)
        return range(int(domain.low), int(domain.low) + step * count, step)
    return [float(domain.low + (domain.step or 0) * index) for index in range(count)]


def points(domain: Domain) -> list[float]:
    """What a grid takes of a domain: the indices of a choice's options, or a range's numbers.

    Raises:
        ValueError: a range without a step that is more than a few whole numbers.
    """
    if isinstance(domain, Choice):
        return list(range(len(domain.options)))
    step = domain.step or (1 if domain.integer and not domain.log else None)
    count = 0 if step is None else math.floor((domain.high - domain.low) / step + 1e-9) + 1
    if step is None or count > GRID_NUMBERS:
        raise ValueError(
            f"runs from {domain.low} to {domain.high}, which a grid cannot go through; it must "
            f"have a 'step' of at most {GRID_NUMBERS} numbers in all, or be a choice"
        )
    kind = int if domain.integer else float
    return [kind(domain.low + step * index) for index in range(count)]
