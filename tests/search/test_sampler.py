"""The study: every trial is recorded as what it was, and the same seed draws the same."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from search.sampler import StudySearcher, draw
from search.settings import SamplerSettings
from search.space import Space, reference
from search.spacefile import load_space
from search.trial import TrialConfig

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
    def make(name: str = "study", **settings: Any) -> StudySearcher:
        return StudySearcher(
            space,
            SamplerSettings(**{"startup_trials": 3} | settings),
            max_epochs=EPOCHS,
            metric="accuracy",
            log=tmp_path / f"{name}.log",
            name=name,
        )

    return make


Make = Callable[..., StudySearcher]


def run(searcher: StudySearcher, name: str, accuracies: list[float]) -> dict[str, Any]:
    """One trial, told to the searcher as Tune tells it: the last result comes twice."""
    suggested = searcher.suggest(name)
    result: dict[str, Any] = {}
    for epoch, accuracy in enumerate(accuracies, start=1):
        result = {"epoch": epoch, "accuracy": accuracy}
        searcher.on_trial_result(name, result)
    searcher.on_trial_complete(name, result)
    return suggested


def test_stopped_finished_and_failed_are_pruned_complete_and_fail(searcher: Make) -> None:
    study = searcher()
    run(study, "stopped", [0.1, 0.3, 0.2])
    run(study, "finished", [0.1 * n for n in range(EPOCHS)])
    run(study, "nan", [0.1, math.nan])
    study.suggest("failed")
    study.on_trial_result("failed", {"epoch": 1, "accuracy": 0.4})
    study.on_trial_complete("failed", {"epoch": 1, "accuracy": math.nan, "failed": "why"})
    study.suggest("lost")
    study.on_trial_complete("lost", None, error=True)
    study.suggest("lost with a result")
    study.on_trial_complete("lost with a result", {"epoch": 2, "accuracy": 0.5}, error=True)
    study.suggest("silent")
    study.on_trial_complete("silent", {})
    study.on_trial_complete("never heard of", {"epoch": 1, "accuracy": 0.5})
    states = [trial.state for trial in study.study.trials]
    assert states == [TrialState.PRUNED, TrialState.COMPLETE, *[TrialState.FAIL] * 5]
    stopped, finished, nan, failed, *_ = study.study.trials
    assert stopped.intermediate_values == {1: 0.1, 2: 0.3, 3: 0.2}
    assert finished.value == pytest.approx(0.8)
    assert len(finished.intermediate_values) == EPOCHS
    assert nan.intermediate_values == {1: 0.1}
    assert failed.intermediate_values == {1: 0.4}


def test_a_result_that_comes_only_with_the_end_is_noted(searcher: Make) -> None:
    study = searcher()
    study.suggest("a")
    study.on_trial_complete("a", {"epoch": 1, "accuracy": 0.25})
    assert study.study.trials[0].intermediate_values == {1: 0.25}


def test_the_first_trial_is_the_reference(searcher: Make, space: Space) -> None:
    study = searcher()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Optuna only warns at values out of range
        first = run(study, "first", [0.1])
        second = run(study, "second", [0.2])
    values, picks = reference(space)
    assert first == {"trial": 0, "values": TrialConfig.of(values).model_dump()}
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
    drawn = [study.suggest(str(n))["values"] for n in range(30)]
    for values in drawn:
        assert TrialConfig.model_validate(values).model_dump() == values
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


def test_a_space_without_domains_is_drawn_from(
    space_file: Callable[..., Path], tmp_path: Path
) -> None:
    space, _ = load_space(space_file("training: {batch_size: 8}"))
    study = StudySearcher(
        space,
        SamplerSettings(),
        max_epochs=1,
        metric="accuracy",
        log=tmp_path / "log",
        name="n",
    )
    assert run(study, "a", [0.5])["values"] == run(study, "b", [0.5])["values"]


def test_nothing_of_it_is_pickled(searcher: Make) -> None:
    study = searcher()
    study.suggest("a")
    assert vars(pickle.loads(pickle.dumps(study))) == {}


def test_a_dry_run_draws_the_reference_and_then_what_the_seed_gives(space: Space) -> None:
    drawn = draw(space, SamplerSettings(seed=3), 6)
    assert drawn[0] == reference(space)[0]
    assert drawn == draw(space, SamplerSettings(seed=3), 6)
    assert drawn[1:] != draw(space, SamplerSettings(seed=4), 6)[1:]
    for values in drawn:
        TrialConfig.of(values)
