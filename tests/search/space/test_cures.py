"""What people write who come from another tool is accepted, or the fault says how to write it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from components.config import with_kind
from search.settings.problems import InputError, Problem
from search.settings.trial import TrialConfig
from search.space.file import load_space
from search.space.source import COMPONENTS

WriteSpace = Callable[..., Path]


def problem(file: Path, *assignments: str) -> Problem:
    """The one fault of a space file."""
    with pytest.raises(InputError) as caught:
        load_space(file, assignments)
    (found,) = caught.value.problems
    return found


def test_a_kind_alone_stands_for_a_mapping(space_file: WriteSpace) -> None:
    short, _ = load_space(
        space_file(
            "pooling: {choice: [mean, {kind: attention, heads: {choice: [1, 2]}}]}\n"
            "head: mlp\nadapter: lora\nloss: mnrl\nnegatives: none\n"
            "search: {sampler: random, scheduler: none, start: [{pooling: attention}]}"
        ),
        ["head.hidden=8", "adapter=unfrozen", "adapter.last_layers=2"],
    )
    full, _ = load_space(
        space_file(
            "pooling: {choice: [{kind: mean}, {kind: attention, heads: {choice: [1, 2]}}]}\n"
            "head: {kind: mlp, hidden: 8}\nadapter: {kind: unfrozen, last_layers: 2}\n"
            "loss: {kind: mnrl}\nnegatives: {kind: none}\n"
            "search: {sampler: random, scheduler: none, start: [{pooling: {kind: attention}}]}"
        )
    )
    assert short.tree == full.tree
    assert list(short.domains()) == list(full.domains()) == ["pooling", "pooling.attention.heads"]


def test_cases_take_a_kind_alone(space_file: WriteSpace) -> None:
    space, _ = load_space(space_file("cases: [{case: a, head: {choice: [moe, mlp]}}]"))
    assert "cases.a.head" in space.domains()


def test_every_component_may_be_its_kind_alone() -> None:
    fields = TrialConfig.model_fields
    assert {name for name in fields if with_kind("x") in [fields[name].default] or
            isinstance(fields[name].default, dict)} == set(COMPONENTS)  # fmt: skip
    trial = TrialConfig.model_validate(
        {"base": {"model": "builtin:tiny"}, "pooling": "max", "loss": "circle"}
    )
    assert (trial.pooling.kind, trial.loss.kind) == ("max", "circle")


DOMAINS = [
    ("{loguniform: [1.0e-4, 1.0e-2]}", "{float: [0.0001, 0.01], log: true}"),
    ("{log_uniform: [1.0e-4, 1.0e-2]}", "{float: [0.0001, 0.01], log: true}"),
    ("{uniform: [0.1, 0.2]}", "{float: [0.1, 0.2]}"),
    ("{quniform: [0.1, 0.3, 0.1]}", "{float: [0.1, 0.3], step: 0.1}"),
    ("{randint: [1, 8]}", "{int: [1, 8]}"),
    ("{low: 1.0e-4, high: 1.0e-2, log: true}", "{float: [0.0001, 0.01], log: true}"),
    ("{low: 4, high: 64}", "{int: [4, 64]}"),
    ("{type: float, low: 0.1, high: 0.5, step: 0.1}", "{float: [0.1, 0.5], step: 0.1}"),
    ("{min: 0.0001, max: 0.01}", "{float: [0.0001, 0.01]}"),
    ("{distribution: log_uniform_values, min: 0.0001, max: 0.01}",
     "{float: [0.0001, 0.01], log: true}"),
    ("{lower: 0.1, upper: 0.9}", "{float: [0.1, 0.9]}"),
    ("{type: range, bounds: [0.1, 0.9], log_scale: true}", "{float: [0.1, 0.9], log: true}"),
    ("{values: [0.1, 0.2]}", "{choice: [0.1, 0.2]}"),
    ("{grid_search: [0.1, 0.2]}", "{choice: [0.1, 0.2]}"),
    ("{type: categorical, choices: [0.1, 0.2]}", "{choice: [0.1, 0.2]}"),
    ("tune.loguniform(1e-4, 1e-2)", "{float: [0.0001, 0.01], log: true}"),
    ("loguniform(1e-4, 1e-2)", "{float: [0.0001, 0.01], log: true}"),
    ("uniform(0.1, 0.2)", "{float: [0.1, 0.2]}"),
    ("trial.suggest_float('lr', 1e-5, 1e-2, log=True)", "{float: [1e-05, 0.01], log: true}"),
    ("choice(0.1, 0.2)", "{choice: [0.1, 0.2]}"),
    ("tune.choice([0.1, 0.2])", "{choice: [0.1, 0.2]}"),
    ("interval(0.1, 0.2)", "{float: [0.1, 0.2]}"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "cure"), DOMAINS, ids=[written for written, _ in DOMAINS])
def test_the_domain_of_another_tool(space_file: WriteSpace, written: str, cure: str) -> None:
    found = problem(space_file(f"optimizer:\n  lr: {written}"))
    assert (found.key, found.line) == ("optimizer.lr", 2)
    assert found.message.startswith("is ")
    assert found.message.endswith(f"; it must be written {cure}")
    load_space(
        space_file(
            f"training: {{seed: {cure}}}"
            if "int" in cure
            else f"optimizer: {{weight_decay: {cure}}}"
        )
    )  # what is advised is a domain


LISTS = [
    ("optimizer: {lr: [0.1, 0.2]}", "optimizer.lr", "{choice: [0.1, 0.2]}"),
    ("head: {kind: linear, width: [8, 16]}", "head.width", "{choice: [8, 16]}"),
    ("head: {kind: [linear, mlp]}", "head", "{choice: [linear, mlp]}"),
    ("pooling: [mean, max]", "pooling", "{choice: [mean, max]}"),
    ("adapter: [{kind: none}, {kind: lora, rank: 8}]", "adapter",
     "{choice: [{kind: none}, {kind: lora, rank: 8}]}"),
    ("optimizer: {schedule: [linear, cosine]}", "optimizer.schedule", "{choice: [linear, cosine]}"),
    ("training: {gather: [true, false]}", "training.gather", "{choice: [true, false]}"),
    ("loss: {kind: info_nce, temperature: [0.05, 0.1]}", "loss.temperature",
     "{choice: [0.05, 0.1]}"),
    ("adapter: {kind: lora, last_layers: [2, all]}", "adapter.last_layers", "{choice: [2, all]}"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "cure"), LISTS, ids=[text for text, _, _ in LISTS])
def test_a_list_in_place_of_a_choice(
    space_file: WriteSpace, text: str, key: str, cure: str
) -> None:
    found = problem(space_file(text))
    assert (found.key, found.line) == (key, 1)
    assert found.message.endswith(f"; several values to choose from are written {cure}")


KEYS = [
    ("learning_rate: 0.001", "optimizer.lr"),
    ("lr: 0.001", "optimizer.lr"),
    ("training: {learning_rate: 0.001}", "optimizer.lr"),
    ("training: {lr: 0.001}", "optimizer.lr"),
    ("optimizer: {learning_rate: 0.001}", "lr"),
    ("epochs: 3", "search.scheduler.max_epochs"),
    ("training: {epochs: 3}", "search.scheduler.max_epochs"),
    ("search: {epochs: 3}", "search.scheduler.max_epochs"),
    ("search: {max_epochs: 3}", "search.scheduler.max_epochs"),
    ("num_train_epochs: 3", "search.scheduler.max_epochs"),
    ("batch_size: 32", "training.batch_size"),
    ("optimizer: {batch_size: 32}", "training.batch_size"),
    ("training: {per_device_train_batch_size: 32}", "batch_size"),
    ("training: {warmup_ratio: 0.1}", "optimizer.warmup"),
    ("training: {weight_decay: 0.1}", "optimizer.weight_decay"),
    ("temperature: 0.05", "loss.temperature"),
    ("lora: {rank: 8}", "adapter"),
    ("rank: 8", "adapter.rank"),
    ("adapter: {kind: lora, r: 8}", "rank"),
    ("adapter: {kind: lora, lora_alpha: 8}", "alpha"),
    ("adapter: {kind: lora, target_modules: all-linear}", "targets"),
    ("seed: 1", "training.seed"),
    ("trials: 3", "search.trials"),
    ("n_trials: 3", "search.trials"),
    ("model: builtin:tiny", "base.model"),
    ("max_seq_length: 64", "base.max_length"),
    ("languages: [en, de]", "data.languages"),
    ("pivot: en", "data.pivot"),
    ("workers: 2", "lane.workers"),
    ("pooing: {kind: mean}", "pooling"),
    ("head: {kind: mlp, hiden: 8}", "hidden"),
]


@pytest.mark.parametrize(("text", "meant"), KEYS, ids=[text for text, _ in KEYS])
def test_a_key_of_another_tool_or_section(space_file: WriteSpace, text: str, meant: str) -> None:
    found = problem(space_file(f"cache: {{}}\n{text}"))
    assert found.line == 2
    assert found.message.startswith("is no known key; it must be among ")
    assert found.message.endswith(f"; did you mean {meant!r}?")


def test_an_option_of_the_command_line_gets_the_same_cure(space_file: WriteSpace) -> None:
    found = problem(space_file(""), "learning_rate=1e-3")
    assert str(found).startswith("--set learning_rate=1e-3: learning_rate: is no known key")
    assert found.message.endswith("; did you mean 'optimizer.lr'?")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer: {lr: '0.001'}", "is '0.001'; it must be a number, without quotes"),
        ("training: {gather: yes}",
         "is 'yes'; it must be true or false (YAML 1.2 reads yes, no, on and off as words)"),
        ("training: {seed: 1.5}", "is 1.5; it must be a whole number"),
        ("optimizer: {lr: {a: 1}}", "is {a: 1}; it must be a number"),
        ("optimizer: {lr: 0}", "is 0; it must be greater than 0"),
        ("optimizer: [1]",
         "is [1]; it must be a mapping of settings; several values to choose from are written "
         "{choice: [1]}"),
    ],
)  # fmt: skip
def test_a_value_is_shown_as_it_is_written(space_file: WriteSpace, text: str, message: str) -> None:
    assert problem(space_file(text)).message == message


def test_as_a_user_types_it(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        "data: {train: builtin:cldr, languages: [en, de]}\nbase: {model: builtin:tiny}\n"
        "pooling: mean\noptimizer: {lr: {loguniform: [1.0e-4, 1.0e-2]}}\nepochs: 3\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "search.run", "space.yaml", "--dry-run"],
        cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0] == (
        f"error: {file}:4: optimizer.lr: is {{loguniform: [0.0001, 0.01]}}; it must be "
        "written {float: [0.0001, 0.01], log: true}"
    )
    assert lines[1].startswith(f"error: {file}:5: epochs: is no known key; it must be among ")
    assert lines[1].endswith("; did you mean 'search.scheduler.max_epochs'?")
    assert len(lines) == 2
