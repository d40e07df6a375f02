"""Settings that can have no effect: each rule, and the nearest settings that do have one."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from components.config import Config
from components.context import Context
from search.settings.trial import TrialConfig
from search.space.conflicts import SECTIONS, conflict, never_effective

# One place where every setting below has an effect.
RUN = Context(width=128, causal=False, families=("cjk", "latin"), workers=2)
MINED = {"kind": "mined"}
SCALED = {"kind": "length_mean"}


def found(sections: dict[str, Any], **facts: Any) -> str:
    values: dict[str, Any] = {
        "base": {"model": "builtin:tiny"},
        "head": {"kind": "linear", "width": 16},
    }
    return str(conflict(TrialConfig.of(values | sections), replace(RUN, **facts)) or "")


def sum_of(weights: dict[str, float], **settings: dict[str, Any]) -> dict[str, Any]:
    given = {"distillation": {"teacher": "a/b"}} if "distillation" in weights else {}
    return {"kind": "sum", "weights": weights, "settings": given | settings}


@pytest.mark.parametrize(
    ("sections", "facts", "fault"),
    [
        (
            {"pooling": {"kind": "cls"}},
            {"causal": True},
            "pooling.kind is 'cls', but the first token of a decoder sees no other; it must be "
            "another pooling, or the base an encoder",
        ),
        (
            {"pooling": SCALED, "head": {"kind": "linear", "width": 16, "bias": False}},
            {},
            "pooling.kind is 'length_mean', which only scales the mean, and the head 'linear' as "
            "it is set passes a scale on to the unit vector, where it is lost; it must be "
            "'mean', or the head have a bias or an activation",
        ),
        (
            {"pooling": SCALED, "head": {"kind": "identity"}},
            {},
            "pooling.kind is 'length_mean', which only scales the mean, and the head 'identity'",
        ),
        (
            {"adapter": {"kind": "family_lora"}},
            {"families": ("latin",)},
            "adapter.kind is 'family_lora', but all languages are of one family, 'latin'; it must ",
        ),
        (
            {"head": {"kind": "family", "width": 16}},
            {"families": ("latin",)},
            "head.kind is 'family', but all languages are of one family, 'latin'; "
            "it must be one that all families share",
        ),
        (
            {"negatives": MINED, "loss": {"kind": "distillation", "teacher": "a/b"}},
            {},
            "negatives.kind is 'mined', but the loss 'distillation' compares with none; it must be "
            "'none', or the loss another",
        ),
        (
            {"negatives": MINED, "loss": sum_of({"distillation": 1.0, "info_nce": 0.0})},
            {},
            "negatives.kind is 'mined', but the loss 'sum' compares with none",
        ),
        (
            {"loss": {"kind": "triplet", "negatives": "mined"}},
            {},
            "loss.kind is 'triplet' with mined negatives, but negatives.kind is 'none'; it must be "
            "another, or negatives.kind 'mined'",
        ),
        (
            {"loss": sum_of({"info_nce": 1.0, "triplet": 1.0}, triplet={"negatives": "mined"})},
            {},
            "loss.kind is 'sum' with mined negatives, but negatives.kind is 'none'",
        ),
        (
            {"training": {"gather": False}},
            {"workers": 1},
            "training.gather is false, but a lane has one worker, which gathers nothing; it must "
            "be true, or lane.workers more than 1",
        ),
        (
            {"training": {"one_language": True}},
            {"languages": ("de",)},
            "training.one_language is true, but 'de' is the only language beside the pivot; it "
            "must be false",
        ),
        (
            {"training": {"matryoshka": [8, 16]}},
            {},
            "training.matryoshka names 16; it must be below the embedding's width, 16",
        ),
        (
            {"training": {"matryoshka": [128]}, "head": {"kind": "identity"}},
            {},
            "training.matryoshka names 128; it must be below the embedding's width, 128",
        ),
        (
            {"training": {"matryoshka": [8, 4, 8]}},
            {},
            "training.matryoshka names 8 twice; it must name each width once",
        ),
    ],
)
def test_a_setting_without_effect_is_one_sentence_that_begins_with_its_key(
    sections: dict[str, Any], facts: dict[str, Any], fault: str
) -> None:
    said = found(sections, **facts)
    assert said.startswith(fault)
    assert "\n" not in said
    if facts:  # the settings themselves are fine where the run is another
        assert found(sections) == ""


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"pooling": {"kind": "cls"}},
        {"pooling": SCALED},
        {"pooling": SCALED, "head": {"kind": "mlp", "width": 16, "hidden": 8}},
        {"pooling": {"kind": "max"}, "head": {"kind": "identity"}},
        {"head": {"kind": "family", "width": 16}, "adapter": {"kind": "family_lora"}},
        {"negatives": MINED},
        {"negatives": MINED, "loss": {"kind": "triplet", "negatives": "mined"}},
        {"negatives": MINED, "loss": {"kind": "triplet"}},
        {"negatives": MINED, "loss": sum_of({"distillation": 1.0, "info_nce": 0.1})},
        {"loss": {"kind": "distillation", "teacher": "a/b"}},
        {"loss": sum_of({"info_nce": 1.0, "triplet": 0.0}, triplet={"negatives": "mined"})},
        {"training": {"gather": False, "matryoshka": [15, 1]}},
        {"training": {"matryoshka": [127]}, "head": {"kind": "identity"}},
    ],
)
def test_settings_with_an_effect_are_let_through(sections: dict[str, Any]) -> None:
    assert found(sections) == ""


def test_one_worker_may_gather() -> None:
    assert found({}, workers=1) == ""


VALUES: dict[str, list[dict[str, Any]]] = {
    "pooling": [
        {"kind": "mean"}, {"kind": "max"}, {"kind": "cls"}, SCALED,
        {"kind": "weighted", "weights": {"mean": 1.0, "length_mean": 1.0}},
        {"kind": "weighted", "weights": {"mean": 1.0, "cls": 1.0}},
    ],
    "head": [
        {"kind": "identity"}, {"kind": "linear", "width": 16}, {"kind": "linear", "width": 64},
        {"kind": "linear", "width": 64, "bias": False}, {"kind": "mlp", "width": 64},
        {"kind": "family", "width": 16}, {"kind": "moe", "width": 16},
    ],
    "adapter": [
        {"kind": "none"}, {"kind": "lora"}, {"kind": "lora", "rank": 2}, {"kind": "family_lora"},
    ],
    "loss": [
        {"kind": "info_nce"}, {"kind": "triplet"}, {"kind": "triplet", "negatives": "mined"},
        {"kind": "distillation", "teacher": "a/b"}, {"kind": "mnrl"}, {"kind": "circle"},
        sum_of({"distillation": 1.0, "info_nce": 1.0}),
    ],
    "negatives": [{"kind": "none"}, MINED, MINED | {"count": 3}],
    "training": [
        {}, {"batch_size": 8}, {"gather": False}, {"matryoshka": [32]}, {"matryoshka": [8]},
        {"matryoshka": [32], "seed": 3},
    ],
}  # fmt: skip


Parsed = Mapping[str, Mapping[tuple[str, int], Config]]


def parse(sections: Mapping[str, list[dict[str, Any]]]) -> Parsed:
    """Section -> (section, index of a value) -> its config."""
    base = {"base": {"model": "builtin:tiny"}}
    return {
        section: {
            (section, index): getattr(TrialConfig.of(base | {section: value}), section)
            for index, value in enumerate(values)
        }
        for section, values in sections.items()
    }


def draw_case(seed: int) -> tuple[Parsed, Context]:
    """A few values of each section, and a run."""
    draw = random.Random(seed)
    few = {name: draw.sample(values, draw.choice([1, 1, 2])) for name, values in VALUES.items()}
    run = replace(
        RUN,
        causal=draw.random() < 0.5,
        families=draw.choice([("latin",), ("cjk", "latin")]),
        workers=draw.choice([1, 2]),
        width=draw.choice([16, 128]),
    )
    return parse(few), run


def all_trials(values: Parsed) -> list[dict[str, tuple[str, int]]]:
    """Every combination of the sections' values, by their keys."""
    return [dict(zip(values, keys, strict=True)) for keys in product(*values.values())]


def trial_of(values: Parsed, keys: Mapping[str, tuple[str, int]]) -> TrialConfig:
    trial = TrialConfig.of({"base": {"model": "builtin:tiny"}})
    return trial.model_copy(update={name: values[name][key] for name, key in keys.items()})


@pytest.mark.parametrize("seed", range(150))
def test_values_without_effect_are_those_that_no_combination_of_all_sections_holds(
    seed: int,
) -> None:
    values, run = draw_case(seed)
    fine = [keys for keys in all_trials(values) if not conflict(trial_of(values, keys), run)]
    named = {key for key, _ in never_effective(values, run)}
    dead = {key for keys in values.values() for key in keys} - {k for t in fine for k in t.values()}
    assert named <= dead
    if fine:
        assert named == dead
    else:  # what is left over where a section is empty is not to blame
        assert named


def test_the_drawn_cases_are_of_all_sorts() -> None:
    sizes = set()
    for seed in range(150):
        values, run = draw_case(seed)
        trials = all_trials(values)
        fine = sum(not conflict(trial_of(values, keys), run) for keys in trials)
        named = bool(list(never_effective(values, run)))
        sizes.add((fine == 0, fine == len(trials), named))
    assert sizes == {
        (True, False, True),
        (False, True, False),
        (False, False, True),
        (False, False, False),
    }


def test_the_fault_of_an_option_without_effect_is_its_own() -> None:
    values = parse({
        "training": [{}],
        "pooling": [SCALED, {"kind": "mean"}],
        "head": [{"kind": "identity"}],
        "adapter": [{"kind": "none"}],
        "negatives": [{"kind": "none"}],
        "loss": [{"kind": "info_nce"}],
    })  # fmt: skip
    ((key, fault),) = never_effective(values, RUN)
    assert key == ("pooling", 0)
    assert fault.key == "pooling.kind"


@pytest.mark.parametrize("seed", range(20))
def test_a_config_depends_on_no_section_but_those_it_names(seed: int) -> None:
    draw = random.Random(seed)
    parsed = parse(VALUES)
    picked = {name: draw.choice(list(configs.values())) for name, configs in parsed.items()}
    trial = TrialConfig.of({"base": {"model": "builtin:tiny"}}).model_copy(update=picked)
    whole = replace(RUN, head=trial.head, loss=trial.loss)
    for section in SECTIONS:
        config: Config = getattr(trial, section)
        alone = [config.incompatibility(RUN)]
        for other in config.conflicts_with:
            beside: dict[str, Any] = {other: getattr(trial, other)}
            alone.append(config.incompatibility(replace(RUN, **beside)))
        assert bool(config.incompatibility(whole)) == any(alone)


def test_the_pairs_of_sections_that_can_conflict_form_no_circle() -> None:
    group = {section: section for section in SECTIONS}
    for section, configs in parse(VALUES).items():
        for other in {name for config in configs.values() for name in config.conflicts_with}:
            assert group[section] != group[other]
            joined = group[section]
            group = {name: group[other] if at == joined else at for name, at in group.items()}
