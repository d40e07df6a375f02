"""Every point of a space."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from search.space import Choice, Domain, Space

# The most numbers of one range that a grid takes.
GRID_NUMBERS = 100


def grid(
    space: Space, refuse: Callable[[Mapping[str, Any]], str] = lambda values: ""
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every combination of the options of choices and the numbers of ranges.

    Args:
        refuse: why some values make no sense, or nothing; they are left out.

    Yields:
        Values, and the picks that led to them.

    Raises:
        ValueError: a range is no list of numbers.
    """
    taken: list[int] = []
    while True:
        picks: dict[str, Any] = {}
        places: list[int] = []
        sizes: list[int] = []

        def pick(name: str, domain: Domain) -> Any:
            numbers = points(domain)
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


def points(domain: Domain) -> list[Any]:
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
