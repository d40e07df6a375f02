"""Settings that can have no effect: each rule, and the nearest settings that do have one."""

from __future__ import annotations

import random
from typing import Any

import pytest

from search.settings.trial import TrialConfig
from search.space.conflicts import conflict, facets

# One place where every setting below has an effect.
FACTS: dict[str, Any] = {
    "width": 128,
    "causal": False,
    "families": ("cjk", "latin"),
    "workers": 2,
}
MINED = {"kind": "mined"}
SCALED = {"kind": "length_mean"}


def found(sections: dict[str, Any], **facts: Any) -> str:
    values: dict[str, Any] = {
        "base": {"model": "builtin:tiny"},
        "head": {"kind": "linear", "width": 16},
    }
    return str(conflict(TrialConfig.of(values | sections), **FACTS | facts) or "")


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


@pytest.mark.parametrize("section", VALUES)
def test_values_with_the_same_facets_are_at_odds_with_the_same_sections(section: str) -> None:
    draw = random.Random(section)
    for _ in range(60):
        beside = {name: draw.choice(values) for name, values in VALUES.items()}
        facts = {
            "causal": draw.random() < 0.5,
            "families": draw.choice([("latin",), ("cjk", "latin")]),
            "workers": draw.choice([1, 2]),
        }
        outcomes: dict[Any, set[bool]] = {}
        for value in VALUES[section]:
            sections = beside | {section: value}
            trial = TrialConfig.of({"base": {"model": "builtin:tiny"}} | sections)
            key = facets(trial, section, FACTS["width"])
            outcomes.setdefault(key, set()).add(bool(found(sections, **facts)))
        assert all(len(known) == 1 for known in outcomes.values())
        assert len(outcomes) < len(VALUES[section])
