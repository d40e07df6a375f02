"""Every point of a space, against the product of what its domains hold."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from search.space.domains import Choice, Domain, Picks, Range, Space, reference
from search.space.file import load_space
from search.space.grid import GRID_NUMBERS, Distinct, distinct, grid, numbers, points, size
from search.space.source import Source
from tests.search.space.test_domains import CASES, WriteSpace, integers, reals


def points_of(space: Space, **options: Any) -> list[dict[str, Any]]:
    return [values for values, _ in grid(space, **options)]


def test_a_flat_grid_is_the_product() -> None:
    tree = {
        "a": Choice(("x", "y", "z"), ("x", "y", "z"), (("a", 0), ("a", 1), ("a", 2))),
        "b": {"c": integers(2, 4), "d": [1, 2]},
        "e": reals(0.0, 0.9, step=0.3),
        "f": integers(1, 10, step=4),
    }
    expected = [
        {"a": a, "b": {"c": c, "d": [1, 2]}, "e": pytest.approx(e), "f": f}
        for a, c, e, f in product("xyz", [2, 3, 4], [0.0, 0.3, 0.6, 0.9], [1, 5, 9])
    ]
    found: list[tuple[dict[str, Any], Picks]] = list(grid(Space(tree, Source(tree))))
    assert [values for values, _ in found] == expected
    for values, picks in found:
        assert list(picks) == ["a", "b.c", "e", "f"]
        assert (picks["a"], picks["b.c"]) == ("xyz".index(values["a"]), values["b"]["c"])
        assert type(picks["b.c"]) is type(picks["f"]) is int


def test_a_grid_goes_through_what_exists_under_each_option(space_file: WriteSpace) -> None:
    space, _ = load_space(
        space_file("""
pooling: {choice: [{kind: mean}, {kind: attention, heads: {choice: [1, 4]}}]}
head: {choice: [{kind: linear, width: 32}, {kind: mlp, width: 32, hidden: {int: [8, 24], step: 8}}]}
""")
    )
    poolings = [{"kind": "mean"}, *({"kind": "attention", "heads": n} for n in (1, 4))]
    heads: list[dict[str, Any]] = [{"kind": "linear", "width": 32}]
    heads += [{"kind": "mlp", "width": 32, "hidden": n} for n in (8, 16, 24)]
    found = [(values["pooling"], values["head"]) for values in points_of(space)]
    assert found == list(product(poolings, heads))


def test_no_two_points_of_a_grid_are_alike(space_file: WriteSpace) -> None:
    text = CASES.replace("hidden: {int: [8, 32]}", "hidden: {choice: [8, 32]}")
    found = [repr(values) for values in points_of(load_space(space_file(text))[0])]
    # 2 heads of attention x 3 heads x 3 rates x 2 warm-ups; 2 poolings x 2 heads x 2 rates x 2;
    # 2 poolings x 3 heads x 3 rates x 2.
    assert len(found) == len(set(found)) == 36 + 16 + 36


def test_a_grid_leaves_out_what_is_refused() -> None:
    tree: dict[str, object] = {"a": integers(0, 3), "b": integers(0, 3)}
    space = Space(tree, Source(tree))
    found = points_of(space, refuse=lambda v: "why" if v["a"] + v["b"] != 3 else "")
    assert found == [{"a": a, "b": 3 - a} for a in range(4)]
    assert points_of(space, refuse=lambda values: "why") == []


def test_a_grid_without_domains_is_one_point() -> None:
    tree: dict[str, object] = {"a": {"b": 1}}
    assert list(grid(Space(tree, Source(tree)))) == [({"a": {"b": 1}}, {})]


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (integers(3, 3), [3]),
        (integers(1, GRID_NUMBERS), list(range(1, GRID_NUMBERS + 1))),
        (integers(0, 10, step=4), [0, 4, 8]),
        (reals(0.1, 0.3, step=0.1), [0.1, 0.2, 0.3]),
        (reals(0.0, 1.0, step=0.4), [0.0, 0.4, 0.8]),
        (Choice(("x", "y"), ("x", "y"), ((), ())), [0, 1]),
    ],
)
def test_the_points_of_a_domain(domain: Domain, expected: list[Any]) -> None:
    found = points(domain)
    assert found == pytest.approx(expected)
    assert [type(number) for number in found] == [type(number) for number in expected]


@pytest.mark.parametrize(
    "domain",
    [
        reals(0.0, 1.0),
        reals(0.1, 1.0, log=True),
        integers(1, 64, log=True),
        integers(0, GRID_NUMBERS),
        reals(0.0, 1.0, step=1e-3),
    ],
)
def test_what_is_no_list_of_numbers_has_no_points(domain: Range) -> None:
    with pytest.raises(ValueError, match="which a grid cannot go through; it must have a 'step'"):
        points(domain)


def test_the_reference_stands_on_the_grid() -> None:
    tree = {
        "a": reals(0.1, 0.9, step=0.1),
        "b": integers(0, 7),
        "c": integers(1, 12, step=3),
        "pooling": Choice(({"kind": "max"}, {"kind": "mean"}), ("max", "mean"), ((), ())),
    }
    space = Space(tree, Source(tree))
    values, picks = reference(space)
    assert [found for found in grid(space) if found == (values, picks)] == [(values, picks)]


SIZES = """
pooling: {choice: [{kind: mean}, {kind: attention, heads: {choice: [1, 4]}}, {kind: max}]}
head: {choice: [{kind: linear, width: 32}, {kind: mlp, width: 32, hidden: {int: [8, 24], step: 8}}]}
optimizer: {lr: {choice: [0.1, 0.2]}, warmup: {float: [0, 0.2], step: 0.1}}
cases:
  - {case: whole}
  - {case: other head, head: {kind: mlp, hidden: {int: [1, 3]}}}
  - {case: one rate, optimizer: {lr: 0.3}}
  - {case: several poolings, pooling: {choice: [{kind: last}, {kind: cls}]}}
"""


def test_the_size_of_a_space_is_the_number_of_its_points(space_file: WriteSpace) -> None:
    space, _ = load_space(space_file(SIZES))
    # Poolings x heads x rates x warm-ups of each case.
    assert size(space) == 4 * 4 * 2 * 3 + 4 * 3 * 2 * 3 + 4 * 4 * 1 * 3 + 2 * 4 * 2 * 3
    assert size(space) == len(points_of(space))


@pytest.mark.parametrize(
    ("domain", "count"),
    [
        (integers(1, 64, log=True), 64),
        (integers(1, 10**300), 10**300),
        (integers(0, 10, step=4), 3),
        (reals(0.0, 0.3, step=0.1), 4),
        (reals(0.5, 0.5), 1),
        (reals(0.0, 1.0), float("inf")),
        (reals(0.1, 1.0, log=True), float("inf")),
    ],
)
def test_the_size_of_a_range(domain: Range, count: float) -> None:
    tree = {"a": domain, "b": Choice((1, 2), ("1", "2"), ((), ()))}
    assert size(Space(tree, Source(tree))) == pytest.approx(2 * count)
    if count < 100:
        assert len(numbers(domain)) == count
        assert numbers(domain)[0] == domain.low


def test_distinct_configs_are_counted_to_the_end_or_as_far_as_asked(
    space_file: WriteSpace,
) -> None:
    text = """
pooling:
  choice:
    - {kind: mean}
    - {kind: max}
    - {choice: [{kind: max}, {kind: last}, {kind: mean}]}
head: {choice: [{kind: linear, width: 8}, {kind: linear, width: 9}]}
"""
    space, _ = load_space(space_file(text))

    def never(values: Any) -> str:
        return ""

    def refuse(values: Any) -> str:
        return "why" if values["head"]["width"] == 9 else ""

    assert distinct(space, never, None) == Distinct(3 * 2, True, repeats=2 * 2)
    assert distinct(space, never, 6).complete is False  # nothing is looked at past the sixth
    assert distinct(space, never, 7) == Distinct(6, True, repeats=4)
    assert distinct(space, refuse, None) == Distinct(3, True, repeats=2)
    assert distinct(space, lambda values: "why", None) == Distinct(
        1, True
    )  # the reference is trained
    endless, _ = load_space(space_file("optimizer: {lr: {float: [0.1, 0.2]}}"))
    assert distinct(endless, never, 9) == Distinct(1, False)


def test_cases_that_lead_to_the_same_config_are_one(space_file: WriteSpace) -> None:
    text = "head: {kind: linear, width: 8}\ncases: [{case: a}, {case: b, pooling: {kind: mean}}]"
    space, _ = load_space(space_file(text))
    assert distinct(space, lambda values: "", None) == Distinct(1, True, repeats=1)
