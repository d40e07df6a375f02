"""What TensorBoard and optuna-dashboard show of a run that still goes on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from search.events.journal import Journal
from search.events.types import EpochDone, Event, TrialEnded, TrialStarted
from search.report.tensorboard import TensorBoardFiles

VALUES: dict[str, Any] = {
    "head": {"kind": "linear", "width": None}, "optimizer": {"lr": 0.01}, "seeds": [1, 2]
}  # fmt: skip


def epoch(trial: int, epoch: int, de: float, zh: float, repeat: int = 0) -> EpochDone:
    return EpochDone(
        trial=trial, repeat=repeat, epoch=epoch, loss=1 / epoch, accuracy=(de + zh) / 2,
        by_language={"de": de, "zh": zh}, seconds=1.0, trainable_parameters=7, start="tokens",
        began=0.0, ended=float(epoch),
    )  # fmt: skip


EVENTS: list[Event] = [
    TrialStarted(trial=0, reference=True, values=VALUES),
    TrialStarted(trial=1, reference=False, values=VALUES),
    epoch(0, 1, 0.25, 0.5),
    epoch(1, 1, 0.5, 0.5),
    epoch(0, 2, 0.5, 1.0),
    TrialEnded(trial=0, state="finished"),
    epoch(0, 1, 0.75, 0.75, repeat=2),
]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A run folder that is still written to."""
    with closing(TensorBoardFiles(tmp_path)) as files:
        journal = Journal(tmp_path / "journal.jsonl", files.write)
        for event in EVENTS:
            journal.append(event)
        yield tmp_path
        journal.close()


def test_each_trial_has_its_curves(tmp_path: Path) -> None:
    with closing(TensorBoardFiles(tmp_path)) as files:
        for event in EVENTS:
            files.write(event)
    found = {}
    for folder in (tmp_path / "tensorboard").iterdir():
        read = EventAccumulator(str(folder)).Reload()
        found[folder.name] = {
            tag: [(scalar.step, scalar.value) for scalar in read.Scalars(tag)]
            for tag in read.Tags()["scalars"]
            if not tag.startswith("hparam")
        }
    assert found == {
        "trial-0": {
            "loss": [(1, 1.0), (2, 0.5)],
            "objective": [(1, 0.375), (2, 0.75)],
            "accuracy": [(1, 0.375), (2, 0.75)],
            "accuracy/de": [(1, 0.25), (2, 0.5)],
            "accuracy/zh": [(1, 0.5), (2, 1.0)],
        },
        "trial-1": {
            "loss": [(1, 1.0)], "objective": [(1, 0.5)], "accuracy": [(1, 0.5)],
            "accuracy/de": [(1, 0.5)], "accuracy/zh": [(1, 0.5)],
        },
        "trial-0-seed2": {
            "loss": [(1, 1.0)], "objective": [(1, 0.75)], "accuracy": [(1, 0.75)],
            "accuracy/de": [(1, 0.75)], "accuracy/zh": [(1, 0.75)],
        },
    }  # fmt: skip


@contextmanager
def served(*command: str) -> Iterator[Callable[[str], Any]]:
    """Start a viewer; gives what its address answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ,
    )  # fmt: skip

    def get(path: str) -> Any:
        until = time.monotonic() + 300
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
                    return json.load(answer)
            except OSError:
                assert process.poll() is None and time.monotonic() < until, command
                time.sleep(0.2)

    try:
        yield get
    finally:
        process.terminate()
        process.wait(30)


def test_tensorboard_shows_a_run_that_goes_on(run: Path) -> None:
    program = (sys.executable, "-m", "tensorboard.main", "--load_fast=false")
    with served(*program, "--logdir", str(run / "tensorboard")) as get:
        until = time.monotonic() + 300
        runs = {"trial-0", "trial-0-seed2", "trial-1"}
        while get("/data/plugin/scalars/tags").keys() < runs and time.monotonic() < until:
            time.sleep(0.2)
        scalars = get("/data/plugin/scalars/scalars?tag=accuracy%2Fzh&run=trial-0")
        assert [scalar[1:] for scalar in scalars] == [[1, 0.5], [2, 1.0]]
        scalars = get("/data/plugin/scalars/scalars?tag=accuracy&run=trial-1")  # which goes on
        assert [scalar[1:] for scalar in scalars] == [[1, 0.5]]


def test_optuna_dashboard_shows_a_study_that_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "study.log"
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(log))), study_name="run"
    )
    trial = study.ask()
    trial.suggest_float("optimizer.lr", 0, 1)
    trial.set_user_attr("accuracy/zh", 0.5)
    trial.report(0.5, step=1)
    program = (str(Path(sys.executable).with_name("optuna-dashboard")), str(log))
    with served(*program) as get:
        (summary,) = get("/api/studies")["study_summaries"]
        (shown,) = get(f"/api/studies/{summary['study_id']}")["trials"]
        assert {"key": "accuracy/zh", "value": "0.5"} in shown["user_attrs"]
        assert shown["state"] == "Running"
