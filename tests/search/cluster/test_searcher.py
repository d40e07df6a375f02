"""The study: every trial is recorded as what it was, and the same seed draws the same."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray.tune.search import Searcher

from search.cluster.lane import OBJECTIVE
from search.cluster.resuming import past_trials
from search.cluster.searcher import MOST_LOSSES, StudySearcher
from search.events.outcomes import Outcomes
from search.events.replies import EpochReply, TrialSpec
from search.events.types import EpochDone, TrialEnded, TrialStarted
from search.sampling.draws import draw
from search.sampling.study import PastTrial, SearchStudy
from search.settings.sampler.grid import Grid
from search.settings.sampler.tpe import Tpe
from search.settings.sections import SearchSettings
from search.settings.trial import TrialConfig
from search.space.domains import Space, reference
from search.space.file import load_space
from search.space.grid import grid

SPACE = """
pooling: {choice: [{kind: max}, {kind: mean}, {kind: attention, heads: {choice: [1, 4]}}]}
head: {choice: [{kind: linear, width: 32}, {kind: mlp, width: 32, hidden: {int: [8, 64], log: true}}]}
adapter:
  choice:
    - {kind: none}
    - {kind: lora, rank: {int: [4, 64], step: 4}, last_layers: {choice: [2, all]}}
loss: {kind: info_nce, learned: {choice: [false, true]}}
optimizer: {lr: {float: [1e-4, 1e-2], log: true}, warmup: {float: [0, 0.5], step: 0.25}}
"""  # noqa: E501
EPOCHS = 9


@pytest.fixture
def space(space_file: Callable[..., Path]) -> Space:
    return load_space(space_file(SPACE))[0]


@pytest.fixture
def searcher(space: Space, tmp_path: Path) -> Callable[..., StudySearcher]:
    def make(
        name: str = "study",
        refuse: Any = None,
        space: Space = space,
        trials: int | None = None,
        **settings: Any,
    ) -> StudySearcher:
        study = SearchStudy(
            space,
            SearchSettings.model_validate({"sampler": {"startup_trials": 3} | settings}).sampler,
            log=tmp_path / f"{name}.log",
            name=name,
            **{} if refuse is None else {"refuse": refuse},
        )
        return StudySearcher(study, max_epochs=EPOCHS, trials=trials)

    return make


Make = Callable[..., StudySearcher]


def suggest(searcher: StudySearcher, name: str) -> dict[str, Any]:
    """A trial that is drawn: there is room for it, and it is not the end."""
    suggested = searcher.suggest(name)
    assert isinstance(suggested, dict)
    return suggested


def run(searcher: StudySearcher, name: str, accuracies: list[float]) -> dict[str, Any]:
    """One trial, told to the searcher as Tune tells it: the last result comes twice."""
    suggested = suggest(searcher, name)
    result: dict[str, Any] = {}
    for epoch, accuracy in enumerate(accuracies, start=1):
        result = {"epoch": epoch, OBJECTIVE: accuracy}
        searcher.on_trial_result(name, result)
    searcher.on_trial_complete(name, result)
    return suggested


def test_stopped_finished_and_failed_are_pruned_complete_and_fail(searcher: Make) -> None:
    study = searcher()
    run(study, "stopped", [0.1, 0.3, 0.2])
    run(study, "finished", [0.1 * n for n in range(EPOCHS)])
    run(study, "nan", [0.1, math.nan])
    study.suggest("failed")
    study.on_trial_result("failed", {"epoch": 1, OBJECTIVE: 0.4})
    study.on_trial_complete("failed", {"epoch": 1, OBJECTIVE: math.nan, "failed": "why"})
    for time in range(MOST_LOSSES + 1):
        study.suggest(f"lost {time}")
        study.on_trial_complete(f"lost {time}", {"epoch": 2, OBJECTIVE: 0.5}, error=True)
    study.suggest("silent")
    study.on_trial_complete("silent", {})
    study.on_trial_complete("never heard of", {"epoch": 1, OBJECTIVE: 0.5})
    states = [trial.state for trial in study.study.trials]
    assert states == [TrialState.PRUNED, TrialState.COMPLETE, *[TrialState.FAIL] * 4]
    stopped, finished, nan, failed, *_ = study.study.trials
    assert stopped.intermediate_values == {1: 0.1, 2: 0.3, 3: 0.2}
    assert finished.value == pytest.approx(0.8)
    assert len(finished.intermediate_values) == EPOCHS
    assert nan.intermediate_values == {1: 0.1}
    assert failed.intermediate_values == {1: 0.4}


def test_a_trial_that_loses_its_lane_will_be_retried_before_a_new_one(searcher: Make) -> None:
    study = searcher(trials=2)
    first = study.suggest("a")
    assert isinstance(first, dict)
    study.on_trial_result("a", {"epoch": 1, OBJECTIVE: 0.4})
    assert not study.will_be_retried(first)
    study.on_trial_complete("a", {"epoch": 1, OBJECTIVE: 0.4}, error=True)
    assert study.will_be_retried(first)
    assert study.suggest("b") == first
    assert not study.will_be_retried(first)
    second = study.suggest("c")
    assert isinstance(second, dict)
    assert second["trial"] == 1
    # All are drawn, but one under way may still be lost: there is none for now, not for good.
    assert study.suggest("d") is None
    study.on_trial_complete("c", {"epoch": EPOCHS, OBJECTIVE: 0.5})
    study.on_trial_result("b", {"epoch": 1, OBJECTIVE: 0.4})
    study.on_trial_complete("b", None, error=True)
    assert study.suggest("e") == first
    study.on_trial_complete("e", {"epoch": EPOCHS, OBJECTIVE: 0.6})
    assert study.suggest("f") == Searcher.FINISHED
    assert [trial.state for trial in study.study.trials] == [TrialState.COMPLETE] * 2
    assert len(study.study.trials[0].intermediate_values) == 2


def test_a_result_that_comes_only_with_the_end_is_noted(searcher: Make) -> None:
    study = searcher()
    study.suggest("a")
    study.on_trial_complete("a", {"epoch": 1, OBJECTIVE: 0.25})
    assert study.study.trials[0].intermediate_values == {1: 0.25}


def test_the_first_trial_is_the_reference(searcher: Make, space: Space) -> None:
    study = searcher()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Optuna only warns at values out of range
        first = run(study, "first", [0.1])
        second = run(study, "second", [0.2])
    values, picks = reference(space)
    assert first == {"trial": 0, "values": TrialConfig.of(values).plain()}
    assert second["trial"] == 1
    trial = study.study.trials[0]
    assert trial.params == {
        "pooling": "mean",
        "head": "linear",
        "adapter": "none",
        "loss.learned": "False",
        "optimizer.lr": pytest.approx(picks["optimizer.lr"]),
        "optimizer.warmup": 0.25,
    }
    assert trial.user_attrs == {"reference": True}
    assert study.study.trials[1].user_attrs == {}


def test_what_is_drawn_is_a_legal_config(searcher: Make) -> None:
    study = searcher(kind="random")
    drawn = [suggest(study, str(n))["values"] for n in range(30)]
    for values in drawn:
        assert TrialConfig.model_validate(values).plain() == values
    ranks = {v["adapter"]["rank"] for v in drawn if v["adapter"]["kind"] == "lora"}
    assert ranks and all(rank % 4 == 0 for rank in ranks)
    layers = {v["adapter"]["last_layers"] for v in drawn if v["adapter"]["kind"] == "lora"}
    assert layers == {2, "all"}
    assert {v["loss"]["learned"] for v in drawn} == {False, True}


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_the_same_seed_and_results_draw_the_same(searcher: Make, kind: str) -> None:
    def configs(name: str, seed: int) -> list[dict[str, Any]]:
        study = searcher(name, kind=kind, seed=seed)
        return [run(study, str(n), [0.1 * (n % 4), 0.07 * n]) for n in range(9)]

    first = configs("first", 1)
    assert configs("second", 1) == first
    assert configs("third", 2)[1:] != first[1:]


def test_the_log_is_a_study_that_optuna_reads(searcher: Make, tmp_path: Path) -> None:
    study = searcher("mine")
    run(study, "a", [0.1, 0.2])
    run(study, "b", [0.3] * EPOCHS)
    study.suggest("running")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "mine.log")))
    loaded = optuna.load_study(study_name="mine", storage=storage)
    assert loaded.direction == optuna.study.StudyDirection.MAXIMIZE
    assert [t.state for t in loaded.trials] == [
        TrialState.PRUNED,
        TrialState.COMPLETE,
        TrialState.RUNNING,
    ]
    assert loaded.best_value == 0.3
    assert loaded.trials[0].intermediate_values == {1: 0.1, 2: 0.2}


def test_a_space_without_domains_is_one_trial(
    space_file: Callable[..., Path], tmp_path: Path
) -> None:
    space, _ = load_space(space_file("training: {batch_size: 8}"))
    drawn = SearchStudy(space, Tpe(), log=tmp_path / "log", name="n")
    study = StudySearcher(drawn, max_epochs=1)
    assert run(study, "a", [0.5])["trial"] == 0
    assert study.suggest("b") == Searcher.FINISHED


def test_nothing_of_it_is_pickled(searcher: Make) -> None:
    study = searcher()
    study.suggest("a")
    assert vars(pickle.loads(pickle.dumps(study))) == {}


def test_a_dry_run_draws_the_reference_and_then_what_the_seed_gives(space: Space) -> None:
    drawn = draw(space, Tpe(seed=3), 6)
    assert drawn[0] == reference(space)[0]
    assert drawn == draw(space, Tpe(seed=3), 6)
    assert drawn[1:] != draw(space, Tpe(seed=4), 6)[1:]
    for values in drawn:
        TrialConfig.of(values)


def odd(values: Mapping[str, Any]) -> str:
    """Two thirds of what there is to draw."""
    pooling, head = values["pooling"]["kind"], values["head"]["kind"]
    return f"{pooling} beside {head}" if (pooling == "mean") != (head == "linear") else ""


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_what_is_refused_is_passed_over_and_leaves_no_gap(searcher: Make, kind: str) -> None:
    study = searcher(refuse=odd, kind=kind, seed=1)
    suggested = [run(study, str(n), [0.1 * n] * EPOCHS) for n in range(12)]
    assert [trial["trial"] for trial in suggested] == list(range(12))
    assert not any(odd(trial["values"]) for trial in suggested)
    assert len({str(trial["values"]) for trial in suggested}) == 12
    states = [trial.state for trial in study.study.trials]
    assert states.count(TrialState.COMPLETE) == 12
    assert states.count(TrialState.FAIL) == len(states) - 12 > 0
    refused = [trial for trial in study.study.trials if trial.state == TrialState.FAIL]
    for trial in refused:
        assert (trial.params["pooling"] == "mean") != (trial.params["head"] == "linear")


def test_what_is_refused_is_still_told_apart_by_seed(space: Space) -> None:
    def drawn(seed: int) -> list[dict[str, Any]]:
        return draw(space, Tpe(seed=seed), 8, odd)

    assert drawn(1) == drawn(1) != drawn(2)
    assert not any(odd(values) for values in drawn(1))


def test_the_reference_is_tried_whatever_is_refused(searcher: Make, space: Space) -> None:
    first = suggest(searcher(refuse=lambda values: "never"), "a")
    assert first["values"] == TrialConfig.of(reference(space)[0]).plain()


@pytest.mark.parametrize(
    "text", ["optimizer: {warmup: {float: [0, 0.5]}}", "optimizer: {warmup: {choice: [0.1, 0.2]}}"]
)
@pytest.mark.parametrize("kind", ["tpe", "random", "grid"])
def test_where_everything_is_refused_the_reference_alone_is_trained(
    searcher: Make, space_file: Callable[..., Path], text: str, kind: str
) -> None:
    if kind == "grid" and "float" in text:
        pytest.skip("no grid goes through it")
    space, _ = load_space(space_file(text))
    study = searcher(space=space, refuse=lambda values: "never", kind=kind)
    run(study, "reference", [0.1] * EPOCHS)
    assert study.suggest("other") == Searcher.FINISHED
    first, *others = study.study.trials
    assert first.state == TrialState.COMPLETE
    assert all(trial.state == TrialState.FAIL for trial in others)
    assert all(trial.user_attrs["refused"] == "never" for trial in others)


# Options and ranges that lead to few configs, and some that lead to the same one.
FEW = """
pooling:
  choice:
    - {kind: mean}
    - {kind: attention, heads: {choice: [1, 4]}}
    - {choice: [{kind: attention, heads: 4}, {kind: attention}]}
optimizer: {weight_decay: {int: [0, 1]}, lr: {float: [0.1, 0.2], step: 0.1}}
training: {batch_size: {int: [8, 9], log: true}}
"""


@pytest.mark.parametrize("kind", ["tpe", "random", "grid"])
@pytest.mark.parametrize("lanes", [1, 3])
def test_every_config_of_a_finite_space_comes_once_and_then_the_search_ends(
    searcher: Make, space_file: Callable[..., Path], kind: str, lanes: int
) -> None:
    text = FEW.replace("{int: [8, 9], log: true}", "{choice: [8, 9]}") if kind == "grid" else FEW
    space, _ = load_space(space_file(text))
    study = searcher(space=space, kind=kind)
    expected = {
        str((pooling, decay, lr, size))
        for pooling in ({"kind": "mean"}, {"kind": "attention", "heads": 1},
                        {"kind": "attention", "heads": 4})
        for decay in (0.0, 1.0) for lr in (0.1, 0.2) for size in (8, 9)
    }  # fmt: skip
    found = []
    running: list[str] = []
    for number in range(100):
        suggested = study.suggest(str(number))
        if not isinstance(suggested, dict):
            break
        values: Any = suggested["values"]
        optimizer = values["optimizer"]
        found.append(
            str((values["pooling"], optimizer["weight_decay"], round(optimizer["lr"], 9),
                 values["training"]["batch_size"]))
        )  # fmt: skip
        running.append(str(number))
        if len(running) == lanes:  # the best config is always the same: a sampler would repeat it
            score = 0.9 if values["pooling"]["kind"] == "mean" else 0.1
            study.on_trial_complete(running.pop(0), {"epoch": EPOCHS, OBJECTIVE: score})
    # The reference takes the middle of each range: one of these configs.
    assert len(found) == len(set(found))
    assert set(found) == expected
    while running:
        assert study.suggest("none for now") is None
        study.on_trial_complete(running.pop(), {"epoch": EPOCHS, OBJECTIVE: 0.1})
    assert study.suggest("none for good") == Searcher.FINISHED
    for trial in study.study.trials:
        repeats = trial.user_attrs.get("repeats")
        assert (repeats is None) == (trial.state == TrialState.COMPLETE)
        assert repeats is None or 0 <= repeats < len(expected)


def test_an_option_beside_endless_ones_is_trained_once(
    searcher: Make, space_file: Callable[..., Path]
) -> None:
    space, _ = load_space(
        space_file("""
head:
  choice:
    - {kind: linear, width: 8}
    - {kind: mlp, width: 8, hidden: {int: [8, 100000]}}
""")
    )
    study = searcher(space=space)
    drawn = [run(study, str(n), [0.9 if n == 0 else 0.1] * EPOCHS) for n in range(30)]
    heads = [str(trial["values"]["head"]) for trial in drawn]
    assert len(set(heads)) == 30
    assert sum("linear" in head for head in heads) == 1


def test_a_lost_trial_is_no_repeat(searcher: Make, space_file: Callable[..., Path]) -> None:
    space, _ = load_space(space_file("pooling: {choice: [{kind: mean}, {kind: max}]}"))
    study = searcher(space=space)
    first, second = suggest(study, "a"), suggest(study, "b")
    assert first["values"]["pooling"] != second["values"]["pooling"]
    assert study.suggest("c") is None
    study.on_trial_complete("b", None, error=True)
    assert study.suggest("d") == second
    assert study.suggest("e") is None


GRID = """
pooling: {choice: [{kind: max}, {kind: mean}, {kind: attention, heads: {choice: [1, 4]}}]}
head: {choice: [{kind: linear, width: 32}, {kind: mlp, width: 32, hidden: {int: [8, 24], step: 8}}]}
optimizer: {warmup: {float: [0, 0.2], step: 0.1}}
"""


@pytest.fixture
def flat(space_file: Callable[..., Path]) -> Space:
    return load_space(space_file(GRID))[0]


def test_a_grid_is_the_reference_and_every_other_combination_once(
    searcher: Make, flat: Space
) -> None:
    study = searcher(space=flat, kind="grid")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Optuna only warns at values out of range
        suggested = [suggest(study, str(n)) for n in range(48)]
    assert [trial["trial"] for trial in suggested] == list(range(48))
    drawn = [trial["values"] for trial in suggested]
    first = TrialConfig.of(reference(flat)[0]).plain()
    combinations = [TrialConfig.of(values).plain() for values, _ in grid(flat)]
    assert len(combinations) == 4 * 4 * 3
    assert drawn == [first, *(values for values in combinations if values != first)]
    trials = study.study.trials
    assert [trial.user_attrs.get("reference") for trial in trials] == [True] + [False] * 47
    assert trials[1].params == {"pooling": "max", "head": "linear", "optimizer.warmup": 0.0}
    assert trials[-1].params == {
        "pooling": "attention",
        "pooling.attention.heads": "4",
        "head": "mlp",
        "head.mlp.hidden": 24,
        "optimizer.warmup": pytest.approx(0.2),
    }
    assert study.suggest("none while these run") is None


def test_a_grid_knows_the_seed_of_no_sampler(flat: Space) -> None:
    drawn = [draw(flat, Grid(seed=seed), 20) for seed in (0, 1)]
    assert drawn[0] == drawn[1]


def test_a_grid_leaves_out_what_is_refused(searcher: Make, flat: Space) -> None:
    study = searcher(space=flat, kind="grid", refuse=odd)
    # Mean beside linear, or one of three others beside one of three others.
    drawn = [suggest(study, str(n))["values"] for n in range((1 + 3 * 3) * 3)]
    assert len({str(values) for values in drawn}) == 30
    assert not any(odd(values) for values in drawn)
    assert all(trial.state == TrialState.RUNNING for trial in study.study.trials)


def test_a_grid_of_which_the_reference_is_no_point_is_drawn_in_full(
    searcher: Make, space_file: Callable[..., Path]
) -> None:
    space, _ = load_space(
        space_file("""
head: {kind: mlp, width: 8}
cases: [{case: a, pooling: {kind: max}}, {case: b, adapter: {kind: lora}}]
""")
    )
    study = searcher(space=space, kind="grid")
    drawn = [suggest(study, str(n))["values"] for n in range(3)]
    assert [values.get("case") for values in drawn] == [None, "a", "b"]
    assert [values["head"]["kind"] for values in drawn] == ["linear", "mlp", "mlp"]
    assert [trial.params for trial in study.study.trials] == [{}, {"cases": "a"}, {"cases": "b"}]


def done(trial: int, epoch: int, **accuracies: float) -> dict[str, Any]:
    """What Tune is told of an epoch."""
    accuracy = sum(accuracies.values()) / len(accuracies)
    event = EpochDone(
        trial=trial, epoch=epoch, loss=1.0, accuracy=accuracy, by_language=accuracies, seconds=1.0,
        trainable_parameters=7, start="tokens", began=0.0, ended=1.0,
    )  # fmt: skip
    return {"epoch": epoch, OBJECTIVE: accuracy, "reply": EpochReply(done=event, last=False)}


def test_the_sampler_knows_which_trials_keep_the_floors(space: Space, tmp_path: Path) -> None:
    settings = SearchSettings.model_validate({"floors": {"zh": -0.1}})

    def study(name: str, past: Sequence[PastTrial] = ()) -> SearchStudy:
        return SearchStudy(
            space, settings.sampler, log=tmp_path / f"{name}.log", name=name, past=past
        )

    first = study("first")
    searcher = StudySearcher(first, max_epochs=EPOCHS, constraints=settings.constraints)
    given: list[Any] = []
    for name, zh in (("a", 0.5), ("b", 0.3), ("c", 0.45)):
        given.append(searcher.suggest(name))
        searcher.on_trial_complete(name, done("abc".index(name), 1, zh=zh, de=0.9))
    found = [trial.constraints for trial in first.study.trials]
    assert found[0]["floors.zh"] <= 0
    assert found[1]["floors.zh"] == pytest.approx(0.1)
    assert found[2]["floors.zh"] == pytest.approx(-0.05)
    # A search that goes on tells the sampler the same.
    past = [
        PastTrial(
            n, given[n]["values"], dict(trial.params), {1: 0.5}, "stopped", dict(trial.constraints)
        )
        for n, trial in enumerate(first.study.trials)
    ]
    again = study("second", past).study.trials
    assert [trial.constraints for trial in again] == found


def test_viewers_of_the_study_see_the_languages(searcher: Make) -> None:
    study = searcher()
    study.suggest("a")
    study.suggest("b")
    study.on_trial_complete("a", done(0, EPOCHS, zh=0.5, de=0.9))
    study.on_trial_complete("b", done(1, 1, zh=0.25, de=0.75))
    facts = {"seconds": 1.0, "trainable_parameters": 7}
    whole, stopped = study.study.trials
    assert whole.user_attrs == facts | {
        "reference": True, "accuracy": 0.7, "accuracy/zh": 0.5, "accuracy/de": 0.9,
        "epochs": EPOCHS,
    }  # fmt: skip
    assert stopped.user_attrs == facts | {
        "accuracy": 0.5, "accuracy/zh": 0.25, "accuracy/de": 0.75, "epochs": 1
    }  # fmt: skip


def test_a_search_that_goes_on_tells_the_study_the_same_of_its_trials(
    space: Space, tmp_path: Path
) -> None:
    values = TrialConfig.of(reference(space)[0]).plain()
    events = [
        TrialStarted(trial=0, reference=True, values=values),
        done(0, 1, zh=0.5, de=0.9)["reply"].done,
        TrialEnded(trial=0, state="stopped"),
        TrialStarted(trial=1, reference=False, values=values),
        done(1, 1, zh=0.5, de=0.9)["reply"].done,
    ]
    ended, running = past_trials(Outcomes(events))
    assert ended.facts == {
        "accuracy": 0.7, "accuracy/zh": 0.5, "accuracy/de": 0.9, "epochs": 1, "seconds": 1.0,
        "trainable_parameters": 7,
    }  # fmt: skip
    assert running.facts == {}
    study = SearchStudy(
        space, SearchSettings().sampler, log=tmp_path / "log", name="again", past=[ended]
    )
    assert study.study.trials[0].user_attrs == {"reference": True} | dict(ended.facts)


def test_tasks_of_the_finals_come_when_no_trial_runs_and_are_no_part_of_the_study(
    searcher: Make,
) -> None:
    asked: list[int] = []

    def finals() -> list[TrialSpec]:
        asked.append(len(asked))
        train = [TrialSpec(trial=0, repeat=n, values={}) for n in (1, 2)]
        return [train, [TrialSpec(task="score", trial=None, values={})], []][len(asked) - 1]

    study = StudySearcher(searcher()._study, max_epochs=EPOCHS, trials=1, finals=finals)
    assert isinstance(study.suggest("a"), dict)
    assert study.suggest("b") is None and not asked
    assert study.awaits_finals
    study.on_trial_complete("a", {"epoch": EPOCHS, OBJECTIVE: 0.5})
    first, second = study.suggest("b"), study.suggest("c")
    assert isinstance(first, dict) and isinstance(second, dict)
    assert (first["repeat"], second["repeat"], first["task"]) == (1, 2, "train")
    assert study.suggest("d") is None
    study.on_trial_complete("b", None, error=True)  # its lane is lost
    assert study.will_be_retried(first)
    assert study.suggest("d") == first
    study.on_trial_result("d", {"epoch": 1, OBJECTIVE: 0.9})
    for name in ("c", "d"):
        study.on_trial_complete(name, {"epoch": EPOCHS, OBJECTIVE: 0.9})
    scoring = study.suggest("e")
    assert isinstance(scoring, dict) and scoring["task"] == "score"
    study.on_trial_complete("e", {"epoch": 0, OBJECTIVE: math.nan})
    assert study.awaits_finals
    assert study.suggest("f") == Searcher.FINISHED
    assert not study.awaits_finals
    assert len(study.study.trials) == 1
