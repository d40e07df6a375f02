"""Space files: everything that is wrong with one is said at once, with its place and a way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.config import variants
from components.interface import PoolingConfig
from search.settings.problems import InputError, Problem
from search.space.domains import Choice, Range
from search.space.file import load_space
from search.space.run_config import RunConfig

WriteSpace = Callable[..., Path]
SECTIONS = ["cases", *(key for key in RunConfig.model_fields if key != "case")]


@pytest.fixture
def problems(space_file: WriteSpace) -> Callable[..., list[Problem]]:
    def found(text: str, *assignments: str) -> list[Problem]:
        with pytest.raises(InputError) as caught:
            load_space(space_file(text), assignments)
        return caught.value.problems

    return found


Problems = Callable[..., list[Problem]]


def test_all_faults_of_a_file_are_told_at_once(space_file: WriteSpace) -> None:
    file = space_file("""
serach: {trials: 3}
pooling:
  choice:
    - {kind: maen}
    - {kind: attention, haeds: 2}
head: {kind: linear, width: 0}
adapter: {kind: lora, rank: yes, alpha: .nan}
optimizer:
  lr: {float: [1e-3, 100]}
  schedule: cosin
""")
    with pytest.raises(InputError) as caught:
        load_space(file, ["training.batch_size=1", "training.seeed=3"])
    found = {(p.line, p.key): p.message for p in caught.value.problems}
    assert all(p.file == str(file) for p in caught.value.problems if p.line)
    assert found == {
        (1, "serach"): "is no known key; it must be among "
        f"{', '.join(SECTIONS)}; did you mean 'search'?",
        (4, "pooling"): "is 'maen'; it must be one of "
        f"{', '.join(variants('components.pooling', PoolingConfig))}; did you mean 'mean'?",
        (5, "pooling.haeds"): "is no known key; it must be among kind, heads; "
        "did you mean 'heads'?",
        (6, "head.width"): "is 0; it must be at least 1",
        (7, "adapter.rank"): "is 'yes'; it must be a whole number",
        (7, "adapter.alpha"): "is nan; it must be a finite number",
        (9, "optimizer.lr"): "is 100.0; it must be at most 10",
        (10, "optimizer.schedule"): "is 'cosin'; it must be one of constant, cosine, linear; "
        "did you mean 'cosine'?",
        (0, "training.batch_size"): "is 1; it must be at least 2",
        (0, "training.seeed"): "is no known key; it must be among batch_size, pairs_per_epoch, "
        "language_temperature, one_language, matryoshka, chunk_tokens, activation_checkpointing, "
        "gather, seed, pairs_seed; "
        "did you mean 'seed'?",
    }
    # One line each, the place first.
    lines = str(caught.value).splitlines()
    assert len(lines) == len(found)
    assert lines[-1].startswith(f"{file}:10: optimizer.schedule: is 'cosin'")
    assert lines[0].startswith("--set training.batch_size=1: training.batch_size: is 1")


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("pooling: maen", "pooling", "is 'maen'; it must be one of attention"),
        ("pooling: {heads: 2}", "pooling", "must be a kind or a mapping with a 'kind'"),
        ("pooling:", "pooling", "is null"),
        ("loss: {kind: infonce}", "loss", "did you mean 'info_nce'?"),
        ("negatives: {kind: mind}", "negatives", "did you mean 'mined'?"),
        ("negatives: {kind: mined, cuont: 2}", "negatives.cuont", "did you mean 'count'?"),
        ("negatives: {kind: mined, encoder: a/b, every: 2}", "negatives.every", "must be left out"),
        ("training: {matryoshka: [8, 0]}", "training.matryoshka.1", "at least 1"),
        ("loss: {kind: distillation}", "loss.teacher", "is missing; it must be given"),
        ("head: {kind: linear, width: 8.0}", "head.width", "must be a whole number"),
        ("head: {kind: linear, width: true}", "head.width", "must be a whole number"),
        ("head: {kind: linear, width: '8'}", "head.width", "must be a whole number"),
        ("adapter: {kind: lora, last_layers: 0}", "adapter.last_layers", "is 0; it must be"),
        ("adapter: {kind: lora, last_layers: al}", "adapter.last_layers", "did you mean 'all'?"),
        ("adapter: {kind: lora, targets: foo}", "adapter.targets", "auto, all-linear, or a list"),
        ("optimizer: {lr: .inf}", "optimizer.lr", "must be a finite number"),
        ("data: {pivot: en}", "data.train", "is missing; it must be given"),
        ("data:", "data", "is null"),
        ("data: {train: x, languages: 5}", "data.languages", "must be a list"),
        ("data: {train: x, languages: [en, 3]}", "data.languages.1", "must be text"),
        ("search: {sampler: {knd: tpe}}", "search.sampler.knd", "did you mean 'kind'?"),
        ("search: {trials: 0}", "search.trials", "at least 1"),
        ("1: 3", "1", "is no known key"),
    ],
)
def test_a_wrong_value_is_one_sentence(problems: Problems, text: str, key: str, words: str) -> None:
    (problem,) = problems(text)
    assert (problem.key, problem.line) == (key, 1)
    assert words in problem.message


@pytest.mark.parametrize(
    ("domain", "key", "words"),
    [
        (
            "{float: [1, 0.1]}",
            "",
            "runs from 1.0 to 0.1; it must run from the lower to the higher end",
        ),
        ("{float: [0, 1], log: true}", "", "is log and starts at 0.0; it must start above 0"),
        ("{float: [1, 2], log: true, step: 0.5}", "", "both log and step"),
        ("{float: [1, 2], lgo: true}", ".lgo", "did you mean 'log'?"),
        ("{float: [1, 2], setp: 1}", ".setp", "did you mean 'step'?"),
        ("{float: [1, 2], int: [1, 2]}", ".float", "is no known key"),
        ("{float: [1]}", ".float", "at least 2 items"),
        ("{float: [1, 2, 3]}", ".float", "at most 2 items"),
        ("{float: 3}", ".float", "must be a list"),
        ("{float: [a, 2]}", ".float.0", "must be a number"),
        ("{float: [1, .inf]}", ".float.1", "must be a finite number"),
        ("{float: [.nan, 1]}", ".float.0", "must be a finite number"),
        ("{int: [1.5, 2]}", ".int.0", "must be a whole number"),
        ("{float: [1, 2], step: 0}", ".step", "must be greater than 0"),
        ("{float: [1, 2], log: 1}", ".log", "must be true or false"),
        ("{choice: []}", ".choice", "at least 1 item"),
        ("{choice: 3}", ".choice", "must be a list"),
        ("{choice: [1, 2, 1]}", ".choice.2", "given twice"),
        ("{choice: [1, 2], log: true}", ".log", "is no known key"),
    ],
)
def test_a_wrong_domain_is_one_sentence(
    problems: Problems, domain: str, key: str, words: str
) -> None:
    (problem,) = problems(f"optimizer:\n  lr: {domain}")
    assert (problem.key, problem.line) == (f"optimizer.lr{key}", 2)
    assert words in problem.message


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("search: {trials: {int: [1, 2]}}", "search.trials"),
        ("search: {sampler: {seed: {choice: [1, 2]}}}", "search.sampler.seed"),
        ("lane: {choice: [{workers: 1}, {workers: 2}]}", "lane"),
        ("base: {model: {choice: [builtin:tiny, b]}}", "base.model"),
        ("data: {train: {choice: [a, b]}}", "data.train"),
        ("search: {sampler: {kind: {choice: [grid, tpe]}}}", "search.sampler.kind"),
    ],
)
def test_what_holds_for_the_whole_search_is_no_domain(
    problems: Problems, text: str, key: str
) -> None:
    (problem,) = problems(text)
    assert problem.key == key
    assert "holds for the whole search, so it must be one value" in problem.message


@pytest.mark.parametrize("domain", ["choice: [{}]", "int: [1, 2]"])
def test_the_whole_file_is_no_domain(tmp_path: Path, domain: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(domain)
    with pytest.raises(InputError, match=r"space\.yaml:1: is a domain"):
        load_space(file)


def test_both_ends_of_a_range_are_held_against_the_field(problems: Problems) -> None:
    low, high = problems(
        "head: {choice: [{kind: linear, width: {int: [0, 8]}}]}\n"
        "optimizer: {warmup: {float: [0.1, 1]}}"
    )
    assert (low.key, low.line, low.message.split(";")[0]) == ("head.width", 1, "is 0")
    assert (high.key, high.line, high.message.split(";")[0]) == ("optimizer.warmup", 2, "is 1.0")


def test_a_fault_inside_an_option_is_told_at_its_line(problems: Problems) -> None:
    (problem,) = problems("""
head:
  choice:
    - kind: linear
    - kind: mlp
      hidden: {choice: [8,
                        0]}
""")
    assert (problem.key, problem.line) == ("head.hidden", 6)


def test_a_fault_of_an_assignment_inside_a_choice_names_the_assignment(problems: Problems) -> None:
    text = "pooling: {choice: [{kind: mean}, {kind: attention, heads: 1}]}"
    (problem,) = problems(text, "pooling.choice.1.heads=0")
    assert problem.file == "--set pooling.choice.1.heads=0"
    assert problem.key == "pooling.heads"


def test_what_is_read_is_a_space_and_the_sections_of_the_search(space_file: WriteSpace) -> None:
    space, config = load_space(
        space_file("""
search: {trials: 7}
data: {train: builtin:cldr, languages: [no, en]}
pooling: {choice: [{kind: mean}, {kind: attention}]}
head: {kind: mlp, hidden: {int: [8, 64], log: true}}
optimizer: {warmup: {float: [0, 0.5], step: 0.25}}
"""),
        ["search.sampler.seed=5"],
    )
    assert (config.search.trials, config.search.sampler.seed) == (7, 5)
    assert config.data.languages == ["no", "en"]
    tree: dict[str, Any] = space.tree
    assert tree["head"]["hidden"] == Range(8, 64, True, True, None)
    assert tree["optimizer"]["warmup"] == Range(0, 0.5, False, False, 0.25)
    assert isinstance(space.tree["pooling"], Choice)
    assert space.tree["pooling"].labels == ("mean", "attention")


def test_set_may_turn_a_domain_into_a_value_and_back(space_file: WriteSpace) -> None:
    file = space_file("optimizer: {lr: {float: [1e-3, 1e-2]}, warmup: 0.1}")
    space, _ = load_space(file, ["optimizer.lr=5e-3", "optimizer.warmup={float: [0, 0.3]}"])
    assert list(space.domains()) == ["optimizer.warmup"]
    tree: dict[str, Any] = space.tree
    assert tree["optimizer"]["lr"] == 5e-3
    narrower, _ = load_space(file, ["optimizer.lr.float=[2e-3, 4e-3]", "optimizer.lr.log=true"])
    assert narrower.domains() == {"optimizer.lr": Range(2e-3, 4e-3, False, True, None)}


def test_cases_are_a_choice_with_names(space_file: WriteSpace) -> None:
    space, _ = load_space(
        space_file("""
cases:
  - {case: wide, head: {kind: linear, width: {int: [64, 128]}}}
  - {loss: {kind: triplet}}
  - case: deep
""")
    )
    cases = space.tree["cases"]
    assert isinstance(cases, Choice)
    assert cases.labels == ("wide", "case 2", "deep")
    assert cases.origins == (("cases", 0), ("cases", 1), ("cases", 2))
    assert cases.options == (
        {"case": "wide", "head": {"kind": "linear", "width": Range(64, 128, True, False, None)}},
        {"case": "case 2", "loss": {"kind": "triplet"}},
        {"case": "deep"},
    )


def test_faults_in_cases_are_told_at_their_lines(problems: Problems) -> None:
    found = problems("""
head: {kind: linear, width: 32}
optimizer: {lr: {float: [1e-3, 1e-2]}}
cases:
  - case: one
    head: {kind: mlp, hiden: 3}
    optimzer: {lr: 0.1}
  - case: two
    optimizer:
      lr: {float: [1e-3,
                   20]}
      warmup: {float: [0.5]}
    search: {trials: 3}
  - {case: one, base: {model: x}, cases: []}
  - {case: 5}
""")
    assert [(p.line, p.key, p.message) for p in found] == [
        (5, "head.hiden", "is no known key; it must be among kind, width, init, hidden, "
         "activation; did you mean 'hidden'?"),
        (6, "optimzer", "is no known key; it must be among case, pooling, head, adapter, loss, "
         "negatives, optimizer, training; did you mean 'optimizer'?"),
        (9, "optimizer.lr", "is 20.0; it must be at most 10"),
        (11, "cases.1.optimizer.warmup.float",
         "is [0.5]; it must have at least 2 items"),
        (12, "cases.1.search",
         "stands in a case; 'search' must be the same for all trials"),
        (13, "cases.2", "has a name, 'one', given twice"),
        (13, "cases.2.base", "stands in a case; 'base' must be the same for all trials"),
        (13, "cases.2.cases", "stands in a case; 'cases' must be the same for all trials"),
        (14, "case", "is 5; it must be text"),
    ]  # fmt: skip


def test_a_fault_beside_the_cases_is_found_though_the_first_case_hides_it(
    problems: Problems,
) -> None:
    (problem,) = problems("""
head:
  choice:
    - {kind: linear, width: 32}
    - {kind: linear, width: 0}
cases:
  - {head: {kind: identity}}
  - {loss: {kind: triplet}}
""")
    assert (problem.line, problem.key) == (4, "head.width")


@pytest.mark.parametrize(
    "cases",
    ["[]", "{kind: mean}", "[3]", "[{case: a}, b]", "mean", "{choice: [{case: a}, {case: b}]}"],
)
def test_cases_that_are_no_list_of_mappings_are_one_problem(problems: Problems, cases: str) -> None:
    (problem,) = problems(f"optimizer: {{lr: 0.1}}\ncases: {cases}")
    assert (problem.line, problem.key) == (2, "cases")
    assert problem.message == "must be a list of mappings, one a case"


def test_a_case_without_a_name_may_not_get_one_that_is_taken(problems: Problems) -> None:
    (problem,) = problems("cases:\n  - {case: case 2}\n  - {loss: {kind: triplet}}")
    assert (problem.line, problem.message) == (3, "has a name, 'case 2', given twice")


GRID = "search: {sampler: {kind: grid}}"


def test_a_grid_goes_through_lists_of_numbers_only(problems: Problems) -> None:
    found = problems(f"""
{GRID}
head:
  choice:
    - {{kind: linear, width: {{int: [8, 16]}}}}
    - kind: mlp
      hidden: {{int: [8, 600]}}
optimizer:
  lr: {{float: [1e-3, 1e-2], log: true}}
  warmup: {{float: [0, 0.5]}}
  weight_decay: {{float: [0, 1], step: 0.25}}
cases:
  - case: a
    training: {{language_temperature: {{float: [1, 5]}}}}
""")
    assert [(p.line, p.key) for p in found] == [
        (6, "head.mlp.hidden"),
        (8, "optimizer.lr"),
        (9, "optimizer.warmup"),
        (13, "cases.a.training.language_temperature"),
    ]
    assert found[2].message == (
        "runs from 0.0 to 0.5, which a grid cannot go through; it must have a 'step' of at most "
        "100 numbers in all, or be a choice"
    )


def test_other_samplers_go_through_any_range(space_file: WriteSpace) -> None:
    text = "optimizer: {lr: {float: [1e-3, 1e-2], log: true}, warmup: {float: [0, 0.5]}}"
    for kind in ("tpe", "random"):
        load_space(space_file(f"search: {{sampler: {{kind: {kind}}}}}\n{text}"))
    with pytest.raises(InputError):
        load_space(space_file(f"{GRID}\n{text}"))
    load_space(space_file(f"{GRID}\n{text}"), ["optimizer.lr=1e-3", "optimizer.warmup.step=0.1"])


def test_a_grid_that_nobody_would_finish_is_refused_by_its_size(
    problems: Problems, space_file: WriteSpace
) -> None:
    options = ", ".join(map(str, range(1, 100)))
    sections = f"""
head: {{kind: linear, width: {{int: [1, 99]}}}}
training: {{batch_size: {{choice: [{options.replace("1, ", "", 1)}]}}, seed: {{int: [1, 99]}}}}
"""
    (problem,) = problems(f"{GRID}\n{sections}")
    assert (problem.line, problem.key) == (1, "search.sampler.kind")
    assert problem.message == (
        f"is 'grid', which has {99 * 98 * 99:,} combinations here; it must have at most 10,000, "
        f"or search.trials must say how many of them to train"
    )
    load_space(space_file(f"{GRID}\n{sections}"), ["search.trials=20"])
