"""What is checked before a search starts: the space against the base, and the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from components.base import Base
from components.encoder import assemble, trainable_parameters
from search.prepare import prepare
from search.problems import InputError, Problem
from search.space import probes
from search.trial import TrialConfig

WriteSpace = Callable[..., Path]


@pytest.fixture
def problems(space_file: WriteSpace) -> Callable[..., list[Problem]]:
    def found(text: str, *assignments: str) -> list[Problem]:
        with pytest.raises(InputError) as caught:
            prepare(space_file(text), assignments).load()
        return caught.value.problems

    return found


Problems = Callable[..., list[Problem]]


def test_every_option_is_held_against_the_base_at_once(problems: Problems) -> None:
    first, second, third, fourth = problems("""
pooling:
  choice:
    - {kind: mean}
    - {kind: attention, heads: {choice: [1, 3]}}
adapter:
  choice:
    - {kind: none}
    - {kind: lora, targets: [q_proj, qq_proj]}
    - {kind: lora, last_layers: {int: [2, 7]}}
training: {batch_size: {choice: [8, 9]}}
lane: {workers: 2}
""")
    assert (first.line, first.key) == (4, "pooling.heads")
    assert "it must divide the base's width, 128" in first.message
    assert (second.line, second.key) == (8, "adapter.targets")
    assert "'qq_proj', which matches no linear layer" in second.message
    assert "k_proj, o_proj, q_proj, up_proj, v_proj" in second.message
    assert (third.line, third.key) == (9, "adapter.last_layers")
    assert "is 7; it must be at most 6" in third.message
    assert (fourth.line, fourth.key) == (10, "training.batch_size")
    assert "is 9; it must be a multiple of lane.workers, 2" in fourth.message


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("builtin:huge", "built in is only builtin:tiny"),
        ("/nowhere/at/all", "does not exist"),
        ("./nowhere", "does not exist"),
    ],
)
def test_a_base_that_is_not_there_is_one_problem(
    problems: Problems, model: str, words: str
) -> None:
    (problem,) = problems(f"search: {{trials: 1}}\nbase: {{model: {model}}}")
    assert (problem.line, problem.key) == (2, "base.model")
    assert words in problem.message


def test_a_base_that_is_no_model_folder_is_one_problem(problems: Problems, tmp_path: Path) -> None:
    assert "no config.json" in problems(f"base: {{model: {tmp_path}}}")[0].message
    (tmp_path / "config.json").write_text('{"model_type": "nothing_known"}')
    (problem,) = problems(f"base: {{model: {tmp_path}}}")
    assert "cannot be loaded" in problem.message
    assert "\n" not in problem.message


@pytest.mark.parametrize(
    ("data", "key", "words"),
    [
        ("{train: nowhere.csv}", "data.train", "does not exist"),
        ("{train: builtin:cldr, languages: [en]}", "data.languages", "two languages or more"),
        ("{train: builtin:cldr, languages: [en, de], pivot: dee}", "data.pivot", "mean 'de'?"),
        ("{train: builtin:cldr, languages: [en, xx]}", "data.train", "languages: got xx"),
        ("{train: builtin:cldr, train_rows: 9000000}", "data.train", "rows: got 9000000"),
    ],
)
def test_a_fault_of_the_data_has_the_line_of_its_key(
    problems: Problems, data: str, key: str, words: str
) -> None:
    (problem,) = problems(f"search: {{trials: 1}}\ndata: {data}")
    assert (problem.line, problem.key) == (2, key)
    assert words in problem.message


def test_a_fault_of_the_data_given_by_set_names_the_assignment(problems: Problems) -> None:
    (problem,) = problems("data: {train: builtin:cldr}", "data.pivot=xx")
    assert problem.file == "--set data.pivot=xx"


def test_parameters_are_counted_without_weights_as_with_them(
    space_file: WriteSpace, base: Base
) -> None:
    prepared = prepare(
        space_file("""
pooling: {choice: [{kind: mean}, {kind: attention}]}
head: {choice: [{kind: linear, width: 16}, {kind: mlp, width: 16, hidden: 24}]}
adapter: {choice: [{kind: none}, {kind: lora, rank: 2, last_layers: 1}]}
loss: {kind: info_nce, learned: {choice: [false, true]}}
""")
    )
    assert prepared.skeleton.model.device.type == "meta"
    counts = []
    for probe in probes(prepared.space):
        trial = TrialConfig.of(probe.values)
        encoder = assemble(base, trial.adapter, trial.pooling, trial.head)
        expected = trainable_parameters(encoder) + trainable_parameters(trial.loss.build())
        encoder.close()
        counts.append(prepared.trainable_parameters(probe.values))
        assert counts[-1] == expected
    linear = 128 * 16 + 16
    mlp = 128 * 24 + 24 + 24 * 16 + 16
    # PEFT's targets for Qwen3: q (128 -> 4 x 32) and v (128 -> 2 x 32), of rank 2, in one layer.
    lora = 2 * (128 + 128) + 2 * (128 + 64)
    assert counts == [linear, linear + 128, mlp, linear + lora, linear + 1]


def test_the_data_are_tokenised_and_the_validation_is_kept_as_text(space_file: WriteSpace) -> None:
    split = prepare(
        space_file(
            "data: {train: builtin:cldr, languages: [de, en], pivot: en, train_rows: 12, "
            "validation_rows: 5}"
        )
    ).load()
    assert split.train.languages == split.validation.languages == ("de", "en")
    assert split.train.pivot == 1
    assert split.train.counts == [12, 12]
    assert split.validation.counts == [5, 5]
    assert len(split.validation_text) == 5
