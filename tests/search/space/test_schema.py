"""The JSON schema of space files accepts what is shipped and refuses planted faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from components.config import Config
from search.settings.descriptions import describe
from search.space.schema import space_schema
from tools.write_reference import PAGE, SCHEMA, settings_page

ROOT = Path(__file__).parents[3]
SPACES = sorted((ROOT / "spaces").glob("*.yaml"))
GOOD = "base: {model: builtin:tiny}\ndata: {train: builtin:cldr}\n"


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = space_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def load(text: str) -> Any:
    return YAML(typ="safe").load(text)


@pytest.mark.parametrize("file", SPACES, ids=lambda file: file.stem)
def test_a_shipped_space_is_accepted_and_names_the_schema(
    file: Path, validator: Draft202012Validator
) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert [error.message for error in validator.iter_errors(load(text))] == []


@pytest.mark.parametrize(
    "good",
    [
        "pooling: mean",
        "pooling: {choice: [mean, {kind: attention, heads: {choice: [1, 4]}}]}",
        "search: {scheduler: {max_epochs: 3}, metric: csls, objective: {kind: worst_language}}",
        "loss: {kind: sum, weights: {info_nce: 1.0, distillation: {float: [0.1, 1]}}, "
        "settings: {distillation: {teacher: x}}}",
        "optimizer: {lr: {float: [1.0e-4, 1.0e-2], log: true}, head_lr: null}",
        "cases: [{case: one, pooling: {kind: max}}, {head: identity}]",
        "adapter: {kind: lora, last_layers: {choice: [2, all]}, rank: {int: [4, 64], step: 4}}",
    ],
)
def test_what_a_space_may_say(good: str, validator: Draft202012Validator) -> None:
    assert [error.message for error in validator.iter_errors(load(GOOD + good))] == []


@pytest.mark.parametrize(
    "fault",
    [
        "pooing: {kind: mean}",
        "pooling: {kind: meen}",
        "pooling: meen",
        "pooling: {heads: 2}",
        "pooling: {kind: attention, heads: 0}",
        "pooling: {kind: attention, head: 2}",
        "pooling: {kind: attention, heads: two}",
        "pooling: {choice: []}",
        "pooling: {choice: [{kind: mean}, {kind: no}]}",
        "pooling: {choices: [{kind: mean}]}",
        "head: {kind: linear, bias: 1}",
        "adapter: {kind: lora, rank: 2.5}",
        "adapter: {kind: lora, rank: {int: [4]}}",
        "adapter: {kind: lora, rank: {int: [0, 8]}}",
        "adapter: {kind: lora, last_layers: none}",
        "adapter: {kind: lora, dropout: 1.0}",
        "optimizer: {lr: 0}",
        "optimizer: {lr: {float: [1.0e-4, 1.0e-2], lag: true}}",
        "optimizer: {warmup: {float: [0, 1, 2]}}",
        "training: {batch_size: 1}",
        "search: {trials: 0}",
        "search: {trials: {choice: [1, 2]}}",
        "search: {sampler: {kind: tpe, seeds: 1}}",
        "search: {scheduler: {kind: asha, reduction: 1}}",
        "lane: {gpus: -1}",
        "cases: []",
        "cases: [{base: {model: x}}]",
    ],
)
def test_a_planted_fault_is_refused(fault: str, validator: Draft202012Validator) -> None:
    assert not validator.is_valid(load(GOOD + fault))


def test_a_space_without_data_or_base_is_refused(validator: Draft202012Validator) -> None:
    assert not validator.is_valid(load("base: {model: builtin:tiny}"))
    assert not validator.is_valid(load("data: {train: builtin:cldr}"))


def test_the_committed_files_are_current() -> None:
    """`python -m tools.write_reference` writes both."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == space_schema()
    assert PAGE.read_text(encoding="utf-8") == settings_page()


def test_every_setting_is_described() -> None:
    def below(config: type[Config]) -> set[type[Config]]:
        children = config.__subclasses__()
        return set(children).union(*map(below, children))

    sections = ("TrialConfig", "RunConfig", "ChoiceForm", "RangeForm", "IntForm", "FloatForm")
    missing = [
        f"{config.__name__}.{name}"
        for config in below(Config)
        if config.__name__ not in sections
        and config.__module__.startswith(("components", "search"))
        for name in config.model_fields
        if name != "kind" and name not in describe(config)
    ]
    assert missing == []
