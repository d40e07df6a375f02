"""Domains: resolving them, probing them, and the reference trial in their middle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search.source import Source
from search.space import Choice, Range, Space, middle, probes, reference
from search.spacefile import load_space
from search.trial import TrialConfig

WriteSpace = Callable[..., Path]

CONDITIONAL = """
pooling: {choice: [{kind: mean}, {kind: attention, heads: {choice: [1, 4]}}]}
head: {choice: [{kind: linear, width: 32}, {kind: mlp, width: 32, hidden: {int: [8, 32]}}]}
optimizer: {lr: {float: [1e-4, 1e-2], log: true}}
"""


@pytest.fixture
def conditional(space_file: WriteSpace) -> Space:
    return load_space(space_file(CONDITIONAL))[0]


def integers(low: int, high: int, log: bool = False, step: int | None = None) -> Range:
    return Range(low, high, True, log, step)


def reals(low: float, high: float, log: bool = False, step: float | None = None) -> Range:
    return Range(low, high, False, log, step)


def test_a_domain_below_a_choice_exists_only_when_that_is_taken(conditional: Space) -> None:
    asked: list[str] = []

    def first(name: str, domain: Any) -> Any:
        asked.append(name)
        return 0 if isinstance(domain, Choice) else domain.low

    values = conditional.resolve(first)
    assert asked == ["pooling", "head", "optimizer.lr"]
    assert values["pooling"] == {"kind": "mean"}
    asked.clear()

    def last(name: str, domain: Any) -> Any:
        asked.append(name)
        return len(domain.options) - 1 if isinstance(domain, Choice) else domain.high

    values = conditional.resolve(last)
    assert asked == [
        "pooling", "pooling.attention.heads", "head", "head.mlp.hidden", "optimizer.lr"
    ]  # fmt: skip
    assert values["pooling"] == {"kind": "attention", "heads": 4}
    assert values["head"] == {"kind": "mlp", "width": 32, "hidden": 32}
    assert values["optimizer"] == {"lr": 1e-2}


def test_every_domain_has_a_name_of_its_own(conditional: Space) -> None:
    assert list(conditional.domains()) == [
        "pooling", "pooling.attention.heads", "head", "head.mlp.hidden", "optimizer.lr"
    ]  # fmt: skip


def test_options_of_the_same_kind_are_told_apart(space_file: WriteSpace) -> None:
    space, _ = load_space(
        space_file(
            "head: {choice: [{kind: linear, width: {int: [8, 16]}}, "
            "{kind: linear, width: {int: [64, 128]}}]}"
        )
    )
    assert list(space.domains()) == ["head", "head.linear#1.width", "head.linear#2.width"]


def test_probes_take_every_option_and_both_ends(conditional: Space) -> None:
    found = [probe.values for probe in probes(conditional)]
    assert {str(values["pooling"]) for values in found} == {
        "{'kind': 'mean'}",
        "{'kind': 'attention', 'heads': 1}",
        "{'kind': 'attention', 'heads': 4}",
    }
    assert {values["head"].get("hidden") for values in found} == {None, 8, 32}
    assert {values["optimizer"]["lr"] for values in found} == {1e-4, 1e-2}
    # One more for each value beyond the first of its domain: their number, not their product.
    assert len(found) == 1 + 2 + 2 + 1


def test_probes_know_where_each_value_was_written(conditional: Space) -> None:
    deep = next(p for p in probes(conditional) if p.values["pooling"].get("heads") == 4)
    assert deep.origins["pooling", "heads"] == ("pooling", "choice", 1, "heads", "choice", 1)
    assert deep.origins["optimizer", "lr"] == ("optimizer", "lr")


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (reals(0.0, 1.0), 0.5),
        (reals(1e-4, 1e-2, log=True), 1e-3),
        (reals(0.0, 1.0, step=0.4), 0.4),
        (integers(4, 64, log=True), 16),
        (integers(0, 10), 5),
        (integers(1, 10, step=4), 5),
        (integers(3, 3), 3),
    ],
)
def test_the_middle_is_on_the_grid_and_of_the_kind(domain: Range, expected: float) -> None:
    value = middle(domain)
    assert value == pytest.approx(expected, rel=1e-12)
    assert isinstance(value, int) == domain.integer
    assert domain.low <= value <= domain.high


@pytest.mark.parametrize("step", [1, 2, 3, 4, 7, 10, 11])
@pytest.mark.parametrize("high", [1, 2, 5, 10])
def test_the_middle_never_leaves_a_stepped_range(high: int, step: int) -> None:
    value = middle(integers(0, high, step=step))
    assert value in range(0, high + 1, step)


def test_the_reference_is_plain_and_in_the_middle(conditional: Space) -> None:
    values, picks = reference(conditional)
    assert values["pooling"] == {"kind": "mean"}
    assert values["head"] == {"kind": "linear", "width": 32}
    assert values["optimizer"]["lr"] == pytest.approx(1e-3)
    assert picks == {"pooling": 0, "head": 0, "optimizer.lr": pytest.approx(1e-3)}


def test_the_reference_of_a_space_without_the_plain_components(space_file: WriteSpace) -> None:
    space, _ = load_space(
        space_file("""
pooling: {choice: [{kind: max}, {kind: attention, heads: {choice: [1, 4]}}]}
head: {kind: mlp, width: 24, hidden: {int: [8, 32]}}
adapter: {kind: lora, rank: {int: [4, 8]}}
loss: {kind: info_nce, temperature: {float: [0.1, 0.3]}}
""")
    )
    values, picks = reference(space)
    assert values["pooling"] == {"kind": "mean"}
    assert values["head"] == {"kind": "linear", "width": 24}  # as wide as what it is held against
    assert values["adapter"] == {"kind": "none"}
    # What stands outside the space was not picked from it.
    assert picks == {"loss.temperature": pytest.approx(0.2)}


def test_the_reference_finds_the_plain_option_wherever_it_stands(space_file: WriteSpace) -> None:
    space, _ = load_space(
        space_file("""
pooling: {choice: [{kind: max}, {kind: last}, {kind: mean}]}
adapter: {choice: [{kind: lora, rank: {int: [4, 8]}}, {kind: none}]}
""")
    )
    values, picks = reference(space)
    assert picks == {"pooling": 2, "adapter": 1}
    assert (values["pooling"], values["adapter"]) == ({"kind": "mean"}, {"kind": "none"})


def test_the_reference_of_a_space_that_names_no_component(space_file: WriteSpace) -> None:
    space, _ = load_space(space_file("training: {batch_size: 8}"))
    values, picks = reference(space)
    config = TrialConfig.of(values)
    kinds = (config.pooling.kind, config.head.kind, config.adapter.kind)
    assert kinds == ("mean", "linear", "none")
    assert picks == {}


def test_resolving_leaves_the_space_as_it_was() -> None:
    tree = {"a": {"b": reals(0, 1)}, "c": [1, 2]}
    space = Space(tree, Source(tree))
    assert space.resolve(lambda name, domain: 0.25) == {"a": {"b": 0.25}, "c": [1, 2]}
    assert space.domains() == {"a.b": reals(0, 1)}
