"""What is checked before a search starts: the space against the base, and the data."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModel

from components.base import Base
from components.base.locate import BUILTIN
from components.encoder import assemble, trainable_parameters
from components.other_model import OtherModel
from search.runs.prepare import prepare
from search.sampling.draws import draw
from search.settings.problems import InputError, Problem
from search.settings.sampler.random import Random
from search.settings.trial import TrialConfig
from search.space.grid import grid
from search.space.probes import probes

WriteSpace = Callable[..., Path]
DATA = "data: {train: builtin:cldr, languages: [en, de, ko], train_rows: 80, validation_rows: 6}"
LATIN = DATA.replace(", ko", "")


@pytest.fixture
def problems(space_file: WriteSpace) -> Callable[..., list[Problem]]:
    def found(text: str, *assignments: str) -> list[Problem]:
        with pytest.raises(InputError) as caught:
            prepare(space_file(text), assignments)
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
data: {train: builtin:cldr, languages: [en, de], train_rows: 80, validation_rows: 6}
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
data: {train: builtin:cldr, languages: [en, de], train_rows: 80, validation_rows: 6}
""")
    )
    assert prepared.skeleton.model.device.type == "meta"
    counts = []
    for probe in probes(prepared.space):
        trial = TrialConfig.of(probe.values)
        encoder = assemble(base, trial.adapter, trial.pooling, trial.head)
        expected = trainable_parameters(encoder) + trainable_parameters(trial.loss.build(16))
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
            "data: {train: builtin:cldr, languages: [de, en], pivot: en, train_rows: 80, "
            "validation_rows: 5}"
        )
    ).split
    assert split.train.languages == split.validation.languages == ("de", "en")
    assert split.train.pivot == 1
    assert split.train.counts == [80, 80]
    assert split.validation.counts == [5, 5]
    assert len(split.validation_text) == 5


def test_parameters_of_families_and_of_what_only_training_needs_are_counted(
    space_file: WriteSpace,
) -> None:
    prepared = prepare(
        space_file(f"""
head: {{kind: family, width: 16}}
loss: {{kind: distillation, teacher: builtin:tiny}}
training: {{matryoshka: [8]}}
{DATA}
""")
    )
    assert prepared.others == {OtherModel("builtin:tiny"): 128}
    (probe,) = probes(prepared.space)
    layers = 1 + 2  # a shared one and one for each of latin and cjk
    assert prepared.trainable_parameters(probe.values) == layers * (128 * 16 + 16) + 16 * 128


def test_other_models_that_cannot_be_loaded_are_problems_where_they_are_named(
    problems: Problems,
) -> None:
    found = problems(f"""
loss:
  choice:
    - {{kind: info_nce}}
    - kind: distillation
      teacher: builtin:none
    - kind: sum
      weights: {{info_nce: 1.0, distillation: 1.0}}
      settings:
        distillation:
          teacher: /nowhere/at/all
negatives:
  choice:
    - {{kind: none}}
    - {{kind: mined, encoder: ./nowhere}}
{DATA}
""")
    assert [(p.line, p.key, p.message) for p in found] == [
        (5, "loss.teacher", "loss.teacher is 'builtin:none'; built in is only builtin:tiny"),
        (10, "loss.settings.distillation.teacher",
         "loss.settings.distillation.teacher is '/nowhere/at/all', which does not exist"),
        (14, "negatives.encoder", "negatives.encoder is './nowhere', which does not exist"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        pytest.param(
            """
pooling: {choice: [{kind: mean},
                   {kind: length_mean}]}
head: {choice: [{kind: identity}, {kind: linear, width: 32, bias: false}]}
""",
            2, "pooling.kind", "which only scales the mean",
            id="a pooling whose scale every head loses",
        ),
        pytest.param(
            """
pooling: {kind: length_mean}
head:
  choice:
    - {kind: mlp}
    - {kind: linear, width: 32, bias: false}
""",
            1, "pooling.kind", "and the head 'linear' as it is set",
            id="a head that loses every pooling's scale",
        ),
        pytest.param(
            """
pooling: {choice: [{kind: length_mean}, {kind: mean}]}
negatives: {choice: [{kind: none},
                     {kind: mined}]}
head: {choice: [{kind: linear, bias: false}, {kind: mlp}]}
loss: {kind: distillation, teacher: builtin:tiny}
""",
            3, "negatives.kind", "the loss 'distillation' compares with none",
            id="mined negatives for distillation alone",
        ),
        pytest.param(
            """
loss: {choice: [{kind: info_nce},
                {kind: triplet, negatives: mined}]}
""",
            2, "loss.kind", "but negatives.kind is 'none'",
            id="a loss that needs negatives where none are mined",
        ),
        pytest.param(
            "\ntraining: {gather: {choice: [true,\n  false]}}",
            2, "training.gather", "a lane has one worker",
            id="no gathering by one worker",
        ),
        pytest.param(
            """
head: {choice: [{kind: linear, width: 16}, {kind: linear, width: 32}]}
training:
  choice:
    - {batch_size: 8}
    - {matryoshka: [8, 32]}
""",
            5, "training.matryoshka", "names 32; it must be below the embedding's width",
            id="a width that no head reaches",
        ),
        pytest.param(
            "\npooling: {choice: [{kind: mean},\n  {kind: cls}]}",
            2, "pooling.kind", "the first token of a decoder sees no other",
            id="the first token of a decoder",
        ),
    ],
)  # fmt: skip
def test_an_option_that_no_trial_can_hold_is_a_problem_at_its_line(
    problems: Problems, text: str, line: int, key: str, words: str
) -> None:
    (problem,) = problems(f"{text}\n{DATA}")
    assert (problem.line, problem.key) == (line, key)
    assert words in problem.message


ROUTED = """
head: {choice: [{kind: linear, width: 16},
                {kind: family, width: 16}]}
adapter: {choice: [{kind: none},
                   {kind: family_lora}]}
"""


def test_routing_among_languages_of_one_family_is_a_problem(
    problems: Problems, space_file: WriteSpace
) -> None:
    head, adapter = problems(f"{ROUTED}{LATIN}")
    assert (head.line, head.key) == (2, "head.kind")
    assert (adapter.line, adapter.key) == (4, "adapter.kind")
    assert "all languages are of one family, 'latin'" in head.message
    two = prepare(space_file(f"{ROUTED}{DATA}"))
    assert two.split.train.families == ("cjk", "latin")
    own = prepare(space_file(f"{ROUTED}{LATIN}"), ["data.families={de: germanic}"])
    assert own.split.train.families == ("germanic", "latin")


SOMETIMES = f"""
pooling: {{choice: [{{kind: mean}}, {{kind: length_mean}}, {{kind: length_mean, power: 0.0}}]}}
head:
  choice:
    - {{kind: linear, width: 16, bias: {{choice: [true, false]}}}}
    - {{kind: identity}}
    - {{kind: mlp, width: 32, hidden: 8}}
negatives: {{choice: [{{kind: none}}, {{kind: mined}}]}}
loss:
  choice:
    - {{kind: info_nce}}
    - {{kind: triplet, negatives: {{choice: [hardest, mined]}}}}
    - {{kind: distillation, teacher: builtin:tiny}}
training: {{choice: [{{batch_size: 8}}, {{matryoshka: [16]}}]}}
{DATA}
"""


def test_an_option_that_is_idle_beside_some_is_never_drawn_beside_them(
    space_file: WriteSpace,
) -> None:
    prepared = prepare(space_file(SOMETIMES))
    idle = {prepared.conflict(values).split(" ")[0] for values, _ in grid(prepared.space)}
    assert idle == {"", "pooling.kind", "negatives.kind", "loss.kind", "training.matryoshka"}
    settings = Random()
    assert not any(
        prepared.conflict(values)
        for values in draw(prepared.space, settings, 60, prepared.conflict)
    )
    assert any(prepared.conflict(values) for values in draw(prepared.space, settings, 60))


def test_a_case_that_is_idle_in_itself_is_a_problem_though_its_parts_are_not_elsewhere(
    problems: Problems, space_file: WriteSpace
) -> None:
    text = f"""
cases:
  - {{case: plain, head: {{kind: identity}}}}
  - {{case: longer, pooling: {{kind: length_mean}}}}
  - case: both
    head: {{kind: identity}}
    pooling: {{kind: length_mean}}
{DATA}
"""
    (problem,) = problems(text)
    assert (problem.line, problem.key) == (6, "pooling.kind")
    prepare(space_file(text), ["cases.2.head={kind: mlp}"])


def test_the_reference_must_not_hold_a_setting_without_effect(
    problems: Problems, space_file: WriteSpace
) -> None:
    text = f"""
negatives: {{choice: [{{kind: mined}}, {{kind: none}}]}}
loss: {{choice: [{{kind: distillation, teacher: builtin:tiny}}, {{kind: info_nce}}]}}
{DATA}
"""
    (problem,) = problems(text)
    assert (problem.line, problem.key) == (1, "negatives.kind")
    assert "in the reference trial, which takes the first of most options" in problem.message
    prepare(space_file(text), ["negatives.choice=[{kind: none}, {kind: mined}]"])


def test_one_trial_alone_is_held_against_no_reference(
    problems: Problems, space_file: WriteSpace, tmp_path: Path
) -> None:
    # Here the embedding is as wide as the base, wider than the head that the reference would have.
    wide = tmp_path / "wide"
    shutil.copytree(BUILTIN["builtin:tiny"], wide)
    settings = AutoConfig.from_pretrained(wide, hidden_size=1024)
    AutoModel.from_config(settings).save_pretrained(wide)
    text = f"""
head: {{kind: identity}}
training: {{matryoshka: [800]}}
base: {{model: {wide}}}
{DATA}
"""
    assert prepare(space_file(text)).trials == 2  # the reference has another head
    (problem,) = problems(text, "optimizer.lr={choice: [0.1, 0.2]}")
    assert (problem.line, problem.key) == (2, "training.matryoshka")
    assert "below the embedding's width, 768 (in the reference trial" in problem.message


def trials(space_file: WriteSpace, kind: str, *assignments: str) -> int:
    text = f"search: {{sampler: {{kind: {kind}}}}}\n{SOMETIMES}"
    return prepare(space_file(text), assignments).trials


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_a_search_that_draws_has_as_many_trials_as_asked_for_and_distinct(
    space_file: WriteSpace, kind: str
) -> None:
    assert trials(space_file, kind) == 24
    assert trials(space_file, kind, "search.trials=7") == 7
    assert trials(space_file, kind, "search.trials=60") == 60
    assert trials(space_file, kind, "search.trials=700") == 61  # as many as differ
    # A number between two others can always be found.
    assert trials(space_file, kind, "search.trials=700", "optimizer.lr={float: [0.1, 0.2]}") == 700


def test_cases_that_are_one_config_are_said_to_be_trained_once(space_file: WriteSpace) -> None:
    text = f"cases: [{{case: a}}, {{case: b, pooling: {{kind: mean}}}}]\n{DATA}"
    prepared = prepare(space_file(text), ["search.sampler.kind=grid"])
    assert prepared.trials == 1
    assert prepared.repeats == (
        "1 combination of the space comes to the same config as another; each config is trained "
        "once"
    )


def test_a_space_with_fewer_configs_than_trials_says_so(space_file: WriteSpace) -> None:
    text = f"pooling: {{choice: [{{kind: mean}}, {{kind: max}}]}}\n{DATA}"
    few = prepare(space_file(text))
    assert (few.trials, few.too_few) == (
        2,
        "the space holds 2 distinct configs, the reference among them, fewer than the 24 trials "
        "asked for (search.trials)",
    )
    assert few.repeats == ""
    assert few.ended_early(2) == f"{few.too_few}; all were tried"
    for enough in (2, 1):
        prepared = prepare(space_file(text), [f"search.trials={enough}"])
        assert (prepared.trials, prepared.too_few) == (enough, "")
        assert prepared.ended_early(enough) == ""
        assert "ended after 0 of" in prepared.ended_early(0)


def test_a_grid_has_no_more_trials_than_points(space_file: WriteSpace) -> None:
    text = f"search: {{sampler: {{kind: grid}}}}\n{SOMETIMES}"
    prepared = prepare(space_file(text))
    points = [values for values, _ in grid(prepared.space) if not prepared.conflict(values)]
    # Every pooling beside a head with a bias or an activation, else the mean: 3 + 1 + 1 + 3 pairs,
    # of which a width of 16 fits below two; and of 2 x 4 negatives and losses, two are at odds.
    assert len(points) == (8 + 4) * 6
    # The mean without a head trains nothing, whatever stands beside it: 2 x 6 of these are one.
    count = len(points) - 12 + 1
    assert prepared.trials == count
    drawn = draw(prepared.space, prepared.config.search.sampler, len(points), prepared.conflict)
    assert len({str(TrialConfig.of(values)) for values in drawn}) == len(drawn) == count
    assert trials(space_file, "grid", "search.trials=7") == 7
    assert trials(space_file, "grid", "search.trials=1") == 1
    assert trials(space_file, "grid", "search.trials=700") == count


@pytest.mark.parametrize(
    ("sections", "key", "words"),
    [
        ("optimizer: {base_lr: 1.0e-4}", "base_lr", "no trial has the adapter 'unfrozen'"),
        ("optimizer: {layer_decay: 0.9}", "layer_decay", "no trial has the adapter 'unfrozen'"),
        ("optimizer: {adapter_lr: 0.1}\nadapter: {kind: unfrozen}", "adapter_lr", "adds weights"),
        ("optimizer: {pooling_lr: {float: [0.1, 1.0]}}", "pooling_lr", "a pooling that learns"),
        ("optimizer: {head_lr: 0.1}\nhead: {kind: identity}", "head_lr", "a head that learns"),
        ("optimizer: {loss_lr: 0.1}", "loss_lr", "a loss that learns"),
        ("training: {batch_size: 8, activation_checkpointing: true}",
         "activation_checkpointing", "an adapter that trains"),
    ],
)  # fmt: skip
def test_a_setting_of_a_part_that_no_trial_has_is_refused(
    problems: Problems, sections: str, key: str, words: str
) -> None:
    size = "" if sections.startswith("training") else "training: {batch_size: 8}"
    (problem,) = problems(f"{sections}\n{DATA}\n{size}")
    assert (problem.line, problem.key.partition(".")[2]) == (1, key)
    assert words in problem.message


def test_the_rate_of_a_part_that_some_trial_has_is_welcome(space_file: WriteSpace) -> None:
    rates = ", ".join(f"{name}_lr: 0.01" for name in ("adapter", "base", "pooling", "head", "loss"))
    prepare(
        space_file(f"""
optimizer: {{{rates}, layer_decay: 0.9}}
adapter: {{choice: [{{kind: none}}, {{kind: lora}}, {{kind: unfrozen}}]}}
pooling: {{choice: [{{kind: mean}}, {{kind: attention}}]}}
loss: {{kind: info_nce, learned: {{choice: [false, true]}}}}
training: {{batch_size: 8, activation_checkpointing: true}}
{DATA}
""")
    )
