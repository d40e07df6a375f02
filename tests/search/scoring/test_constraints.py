"""Floors and the most parameters: what is kept, what is not, and by how much."""

from __future__ import annotations

import pytest

from components.context import Context
from search.scoring.constraints import Constraints, describe, total

REFERENCE = {"zh": 0.5, "de": 0.9, "gu": 0.2}


def kept(constraints: Constraints, parameters: int | None = 10, **accuracies: float) -> float:
    return total(constraints.violations(REFERENCE | accuracies, REFERENCE, parameters))


def test_a_floor_is_a_distance_from_the_reference() -> None:
    floors = Constraints(floors={"zh": -0.01, "gu": 0.1})
    assert kept(floors, zh=0.49, de=0.0, gu=0.3) == 0
    assert kept(floors, zh=0.47, gu=0.3) == pytest.approx(0.02)
    assert kept(floors, zh=0.47, gu=0.25) == pytest.approx(0.07)
    assert kept(floors, zh=0.49 - 1e-12, gu=0.3) == 0  # as it comes of rounding


def test_no_language_below_the_reference_unless_its_floor_says_otherwise() -> None:
    every = Constraints(no_language_below="reference", floors={"zh": -0.1})
    assert kept(every) == 0
    assert kept(every, zh=0.41, de=0.95) == 0
    assert kept(every, de=0.89) == pytest.approx(0.01)


def test_the_most_parameters_count_as_a_share() -> None:
    limited = Constraints(max_parameters=200)
    assert kept(limited, 200) == 0
    assert kept(limited, 300) == pytest.approx(0.5)
    assert kept(limited, None) == 0


def test_what_is_not_known_is_left_out() -> None:
    floors = Constraints(no_language_below="reference")
    assert floors.violations({"zh": 0.1}, None, 5) == {}
    assert floors.violations({"ko": 0.1}, REFERENCE, 5) == {}
    assert Constraints().are_none and not floors.are_none


def test_they_are_told_in_words() -> None:
    both = Constraints(floors={"zh": 0.0}, max_parameters=100)
    found = describe(both.violations(REFERENCE | {"zh": 0.4}, REFERENCE, 150))
    assert found == ["zh is 0.100 below its floor", "it trains 50% more parameters than allowed"]


def test_a_floor_of_a_language_that_is_not_scored_is_refused() -> None:
    context = Context(8, True, ("latin",), workers=1, languages=["de", "zh"])
    assert Constraints(floors={"de": 0.0}).incompatibility(context) is None
    fault = Constraints(floors={"ko": 0.0}).incompatibility(context)
    assert fault is not None
    assert (fault.key, "de, zh" in str(fault)) == ("search.floors", True)
