"""Domains: resolving them, probing them, and the reference trial in their middle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from search.settings.trial import TrialConfig
from search.space.domains import Choice, Domain, Range, Space, middle, reference
from search.space.file import load_space
from search.space.probes import Probe, probes
from search.space.source import Source

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


def test_every_domain_knows_where_it_was_written(conditional: Space) -> None:
    written = {name: origin for name, _, origin in conditional.written()}
    assert written == {
        "pooling": ("pooling",),
        "pooling.attention.heads": ("pooling", "choice", 1, "heads"),
        "head": ("head",),
        "head.mlp.hidden": ("head", "choice", 1, "hidden"),
        "optimizer.lr": ("optimizer", "lr"),
    }


def test_probes_take_every_option_both_ends_and_the_middle(conditional: Space) -> None:
    found: list[dict[str, Any]] = [probe.values for probe in probes(conditional)]
    assert {str(values["pooling"]) for values in found} == {
        "{'kind': 'mean'}",
        "{'kind': 'attention', 'heads': 1}",
        "{'kind': 'attention', 'heads': 4}",
    }
    assert {values["head"].get("hidden") for values in found} == {None, 8, 20, 32}
    rates = [values["optimizer"]["lr"] for values in found]
    assert sorted(set(rates)) == pytest.approx([1e-4, 1e-3, 1e-2])
    assert rates[0] == pytest.approx(1e-3)  # the middle comes first
    # One more for each value beyond the first of its domain: their number, not their product.
    assert len(found) == 1 + 2 + 3 + 2


@pytest.mark.parametrize(("low", "high"), [(3, 3), (3, 4)])
def test_probes_of_a_short_range_take_each_number_once(low: int, high: int) -> None:
    space = Space({"a": integers(low, high)}, Source({}))
    found: list[Any] = [probe.values["a"] for probe in probes(space)]
    assert sorted(found) == list(range(low, high + 1))
    assert all(type(value) is int for value in found)


def test_probes_know_where_each_value_was_written(conditional: Space) -> None:
    poolings: list[tuple[Probe, Any]] = [(p, p.values["pooling"]) for p in probes(conditional)]
    deep = next(probe for probe, pooling in poolings if pooling.get("heads") == 4)
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
    optimizer: Any = values["optimizer"]
    assert optimizer["lr"] == pytest.approx(1e-3)
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
    tree: dict[str, object] = {"a": {"b": reals(0, 1)}, "c": [1, 2]}
    space = Space(tree, Source(tree))
    assert space.resolve(lambda name, domain: 0.25) == {"a": {"b": 0.25}, "c": [1, 2]}
    assert space.domains() == {"a.b": reals(0, 1)}


CASES = """
pooling: {choice: [{kind: max}, {kind: mean}]}
head: {choice: [{kind: mlp, width: 32, hidden: {int: [8, 32]}}, {kind: linear, width: 32}]}
optimizer: {lr: {float: [1.0e-3, 3.0e-3], step: 1.0e-3}, warmup: {choice: [0.1, 0.2]}}
cases:
  - {case: attended, pooling: {kind: attention, heads: {choice: [1, 4]}}}
  - case: slow
    optimizer: {lr: {choice: [1.0e-5, 1.0e-4]}}
    head: {choice: [{kind: identity}, {kind: linear, width: 8}]}
  - {loss: {kind: triplet}}
"""


@pytest.fixture
def cases(space_file: WriteSpace) -> Space:
    return load_space(space_file(CASES))[0]


def taking(picks: Mapping[str, Any], asked: list[str]) -> Callable[[str, Domain], Any]:
    """Pick what is given, the first of everything else, and note what was asked for."""

    def pick(name: str, domain: Domain) -> Any:
        asked.append(name)
        return picks.get(name, 0 if isinstance(domain, Choice) else domain.low)

    return pick


def test_a_component_of_a_case_takes_the_place_of_the_sections_and_keys_that_of_keys(
    cases: Space,
) -> None:
    asked: list[str] = []
    values = cases.resolve(taking({"cases": 1, "cases.slow.head": 1}, asked))
    assert (values["case"], values["head"]) == ("slow", {"kind": "linear", "width": 8})
    assert values["optimizer"] == {"lr": 1e-5, "warmup": 0.1}
    assert values["pooling"] == {"kind": "max"}
    assert "cases" not in values
    # The case is asked for first, and then nothing that it replaces.
    assert asked == [
        "cases", "cases.slow.optimizer.lr", "cases.slow.head", "pooling", "optimizer.warmup"
    ]  # fmt: skip
    asked.clear()
    values = cases.resolve(taking({"cases": 2, "head": 1}, asked))
    assert (values["case"], values["loss"]) == ("case 3", {"kind": "triplet"})
    assert values["head"] == {"kind": "linear", "width": 32}
    assert asked == ["cases", "pooling", "head", "optimizer.lr", "optimizer.warmup"]


def test_keys_of_a_case_join_each_option_beside_it(space_file: WriteSpace) -> None:
    space, _ = load_space(
        space_file("""
training: {choice: [{batch_size: 8, seed: 3}, {batch_size: 16}]}
cases: [{case: a, training: {seed: 5}}, {case: b, optimizer: {lr: 0.01}}]
""")
    )
    values = space.resolve(taking({"training": 0}, []))
    assert values["training"] == {"batch_size": 8, "seed": 5}
    values = space.resolve(taking({"training": 1}, []))
    assert values["training"] == {"batch_size": 16, "seed": 5}
    values = space.resolve(taking({"cases": 1}, []))
    assert (values["training"], values["optimizer"]) == ({"batch_size": 8, "seed": 3}, {"lr": 0.01})


def test_every_option_beside_the_cases_is_probed_where_a_case_leaves_it(cases: Space) -> None:
    found: dict[str, set[str]] = {}
    for probe in probes(cases):
        values = TrialConfig.of(probe.values | {"base": {"model": "builtin:tiny"}})
        for part in (values.pooling, values.head, values.optimizer.lr):
            found.setdefault(str(values.case), set()).add(str(getattr(part, "kind", part)))
    assert found == {
        "attended": {"attention", "mlp", "linear", "0.001", "0.002", "0.003"},
        "slow": {"max", "mean", "identity", "linear", "1e-05", "0.0001"},
        "case 3": {"max", "mean", "mlp", "linear", "0.001", "0.002", "0.003"},
    }


def test_probes_know_where_what_a_case_says_was_written(cases: Space) -> None:
    slow = next(p for p in probes(cases) if p.values["head"] == {"kind": "linear", "width": 8})
    assert slow.origin_of(("head", "width")) == ("cases", 1, "head", "choice", 1, "width")
    assert slow.origin_of(("head", "bias")) == ("cases", 1, "head", "choice", 1, "bias")
    # Nothing of a component that a case replaces is left, as its keys are.
    bare = next(p for p in probes(cases) if p.values["head"] == {"kind": "identity"})
    assert bare.origin_of(("head", "hidden")) == ("cases", 1, "head", "choice", 0, "hidden")
    assert slow.origin_of(("optimizer", "lr")) == ("cases", 1, "optimizer", "lr", "choice", 0)
    assert slow.origin_of(("optimizer", "warmup")) == ("optimizer", "warmup", "choice", 0)
    assert slow.origin_of(("pooling", "kind")) == ("pooling", "choice", 0, "kind")


def test_domains_of_cases_have_the_name_of_the_case_in_theirs(cases: Space) -> None:
    assert set(cases.domains()) == {
        "cases", "cases.attended.pooling.heads", "cases.slow.optimizer.lr", "cases.slow.head",
        "pooling", "head", "head.mlp.hidden", "optimizer.lr", "optimizer.warmup",
    }  # fmt: skip
    choice = cases.domains()["cases"]
    assert isinstance(choice, Choice)
    assert choice.labels == ("attended", "slow", "case 3")


def test_the_reference_is_of_the_first_case_that_leaves_it_plain(cases: Space) -> None:
    values, picks = reference(cases)
    assert (values["case"], values["pooling"]) == ("slow", {"kind": "mean"})
    assert values["head"] == {"kind": "linear", "width": 8}
    assert picks == {
        "cases": 1,
        "cases.slow.optimizer.lr": 0,
        "cases.slow.head": 1,
        "pooling": 1,
        "optimizer.warmup": 0,
    }


def test_where_no_case_is_plain_the_reference_is_of_none(space_file: WriteSpace) -> None:
    space, _ = load_space(
        space_file("""
optimizer: {lr: {float: [0.01, 0.03]}}
cases:
  - {head: {kind: mlp, width: {choice: [24, 48]}}, loss: {kind: triplet}}
  - {adapter: {kind: lora, rank: {int: [2, 4]}}}
""")
    )
    values, picks = reference(space)
    assert "case" not in values
    assert values["head"] == {"kind": "linear", "width": 24}
    assert picks == {"optimizer.lr": pytest.approx(0.02)}  # it is no result of the first case
