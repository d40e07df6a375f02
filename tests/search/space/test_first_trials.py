"""The trials before the sampler's: without a head, and the user's starting points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search.runs.prepare import prepare
from search.sampling.draws import draw
from search.settings.problems import InputError
from search.settings.sampler.tpe import Tpe
from search.settings.trial import TrialConfig
from search.space.file import load_space
from search.space.first_trials import first_picks, identity_picks

WriteSpace = Callable[[str], Path]

SPACE = """
pooling: {choice: [{kind: max}, {kind: mean}]}
head:
  choice:
    - {kind: mlp, width: 32, hidden: {int: [8, 32], step: 8}}
    - {kind: linear, width: {choice: [null, 16]}}
    - {kind: identity}
adapter:
  choice:
    - {kind: none}
    - {kind: lora, rank: {int: [2, 8]}, last_layers: {choice: [2, all]}}
    - {kind: lora, rank: {int: [16, 32]}}
optimizer: {lr: {float: [1.0e-4, 1.0e-2], log: true}}
training: {batch_size: 16}
"""


def drawn(file: Path, count: int) -> list[TrialConfig]:
    space, config = load_space(file)
    return [TrialConfig.of(values) for values in draw(space, config.search.sampler, count)]


def with_start(*starts: str) -> str:
    lines = "\n".join(f"    - {start}" for start in starts)
    return f"search:\n  start:\n{lines}\n{SPACE}"


def test_the_second_trial_has_no_head_and_an_adapter_in_mid_range(space_file: WriteSpace) -> None:
    reference, second, *_ = drawn(space_file(SPACE), 4)
    kinds = [(t.pooling.kind, t.head.kind, t.adapter.kind) for t in (reference, second)]
    assert kinds == [("mean", "linear", "none"), ("mean", "identity", "lora")]
    adapter: Any = second.adapter
    assert (adapter.rank, adapter.last_layers) == (5, 2)
    assert second.optimizer.lr == pytest.approx(1e-3)


@pytest.mark.parametrize(
    "space",
    [
        "head: {choice: [{kind: linear}, {kind: mlp}]}\nadapter: {kind: lora}",
        "head: {choice: [{kind: identity}, {kind: mlp}]}",  # nothing would train
        "pooling: {choice: [{kind: max}, {kind: last}]}\nhead: {kind: identity}\n"
        "adapter: {kind: lora}",
        "head: {kind: identity}\nadapter: {kind: lora}\ncases: [{loss: {kind: triplet}}]",
    ],
)
def test_a_space_without_such_a_trial_has_none(space_file: WriteSpace, space: str) -> None:
    assert identity_picks(load_space(space_file(space))[0]) is None


def test_starting_points_come_next_and_take_the_rest_from_the_reference(
    space_file: WriteSpace,
) -> None:
    file = space_file(
        with_start(
            "{head: {kind: mlp, hidden: 24}, optimizer: {lr: 3.0e-3}}",
            "{adapter: {kind: lora, rank: 16}, head: {kind: linear, width: null}}",
            "{adapter: {kind: lora, last_layers: all}, pooling: {kind: max}}",
            "{training: {batch_size: 16}, head: {kind: linear, width: 16}}",
        )
    )
    trials = [trial.model_dump() for trial in drawn(file, 7)[2:6]]
    parts = [(t["pooling"]["kind"], t["head"], t["adapter"]["kind"]) for t in trials]
    assert [(p, h["kind"], a) for p, h, a in parts] == [
        ("mean", "mlp", "none"),
        ("mean", "linear", "lora"),
        ("max", "linear", "lora"),
        ("mean", "linear", "none"),
    ]
    assert [t["optimizer"]["lr"] for t in trials] == pytest.approx([3e-3, 1e-3, 1e-3, 1e-3])
    assert (trials[0]["head"]["hidden"], trials[0]["head"]["width"]) == (24, 32)
    assert (trials[1]["adapter"]["rank"], trials[1]["head"]["width"]) == (16, None)
    assert (trials[2]["adapter"]["rank"], trials[2]["adapter"]["last_layers"]) == (5, "all")
    assert trials[3]["head"]["width"] == 16


def test_a_starting_point_that_has_come_is_not_trained_again(space_file: WriteSpace) -> None:
    space, _ = load_space(space_file(with_start("{head: {kind: linear}}", "{head: {kind: mlp}}")))
    assert len(list(first_picks(space))) == 3
    found: list[dict[str, Any]] = draw(space, Tpe(), 12)
    assert len({str(values) for values in found}) == 12
    assert [values["head"]["kind"] for values in found[:3]] == ["linear", "identity", "mlp"]


@pytest.mark.parametrize(
    ("start", "line", "key", "words"),
    [
        ("{head: {kind: moe}}", 3, "search.start.0.head", "mlp, linear, identity"),
        ("{optimizer: {lr: 0.5}}", 3, "search.start.0.optimizer.lr", "from 0.0001 to 0.01"),
        ("{optimizer: {lr: high}}", 3, "search.start.0.optimizer.lr", "must be a number"),
        ("{head: {kind: mlp, hidden: 12}}", 3, "search.start.0.head.hidden", "multiple of 8"),
        ("{adapter: {kind: lora, rank: 12}}", 3, "search.start.0.adapter.rank", "from 2 to 8"),
        ("{training: {batch_size: 8}}", 3, "search.start.0.training.batch_size", "holds 16 alone"),
        ("{training: {seed: 1}}", 3, "search.start.0.training.seed", "does not set it"),
        ("{heads: {kind: mlp}}", 3, "search.start.0.heads", "among"),
        ("{head: moe}", 3, "search.start.0.head", "one of the space's options"),
        ("mlp", 3, "search.start.0", "must be a mapping"),
    ],
)
def test_a_starting_point_outside_the_space_is_refused_at_its_line(
    space_file: WriteSpace, start: str, line: int, key: str, words: str
) -> None:
    file = space_file(with_start(start))
    with pytest.raises(InputError) as caught:
        load_space(file)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.key) == (str(file), line, key)
    assert words in problem.message


def test_starting_points_beside_cases_are_refused(space_file: WriteSpace) -> None:
    file = space_file(with_start("{head: {kind: mlp}}") + "cases: [{loss: {kind: triplet}}]\n")
    with pytest.raises(InputError, match="beside 'cases'"):
        load_space(file)


def test_a_starting_point_with_an_idle_setting_is_refused(space_file: WriteSpace) -> None:
    text = SPACE.replace("{kind: max}", "{kind: length_mean}")
    start = "  start: [{head: {kind: identity}, pooling: {kind: length_mean}}]"
    file = space_file(f"search:\n{start}\n{text}")
    with pytest.raises(InputError, match="only scales the mean") as caught:
        prepare(file)
    assert caught.value.problems[0].line == 2


def test_untrained_encoders_are_the_same_whatever_the_optimizer_says(
    space_file: WriteSpace,
) -> None:
    space, _ = load_space(
        space_file(
            "head: {kind: identity}\npooling: {choice: [{kind: mean}, {kind: max}]}\n"
            "optimizer: {lr: {choice: [0.1, 0.01, 0.001]}}"
        )
    )
    found = [TrialConfig.of(values) for values in draw(space, Tpe(), 9)]
    assert [trial.trains for trial in found] == [True, False, False]
    assert {trial.pooling.kind for trial in found[1:]} == {"mean", "max"}
