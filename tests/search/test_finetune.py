"""One model without a search: the command's flags, its run folder, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from typer.testing import CliRunner, Result

from search.events.journal import read_journal
from search.events.types import TrialStarted
from search.finetune import app

SMALL = [
    "--languages", "en,de,gu", "--epochs", "2", "--width", "16",
    "--set", "data.train_rows=24", "--set", "data.validation_rows=8",
    "--set", "training.pairs_per_epoch=16", "--set", "training.batch_size=8",
    "--set", "base.max_length=32",
]  # fmt: skip


def finetune(output: Path, *flags: str) -> Result:
    torch.set_num_threads(1)
    return CliRunner().invoke(app, [*flags, "--output", str(output), "--name", "one", *SMALL])


def leaderboard(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "leaderboard.csv").read_text().splitlines()))


def values(folder: Path) -> dict[str, Any]:
    _, first, *_ = read_journal(folder / "journal.jsonl")
    assert isinstance(first, TrialStarted)
    return dict(first.values)


@pytest.mark.parametrize(
    ("line", "kinds"),
    [
        ("", {"pooling": "mean", "head": "linear"}),
        ("--pooling last", {"pooling": "last", "head": "linear"}),
        ("--pooling attention", {"pooling": "attention", "head": "linear"}),
        ("--mlp-head", {"pooling": "mean", "head": "mlp"}),
        ("--mlp-head --mlp-hidden 1024", {"pooling": "mean", "head": "mlp"}),
        ("--pooling attention --mlp-head", {"pooling": "attention", "head": "mlp"}),
    ],
)
def test_the_lines_of_the_notes(tmp_path: Path, line: str, kinds: dict[str, str]) -> None:
    result = finetune(tmp_path, *line.split())
    assert result.exit_code == 0, result.output
    folder = tmp_path / "one"
    config = values(folder)
    assert {section: config[section]["kind"] for section in kinds} == kinds
    if kinds["head"] == "mlp":
        assert config["head"]["hidden"] == (1024 if "1024" in line else 2048)
    assert (config["adapter"]["kind"], config["loss"]["kind"]) == ("none", "info_nce")


def test_the_run_folder_is_that_of_a_search(tmp_path: Path) -> None:
    result = finetune(
        tmp_path, "--adapter", "family_lora", "--set", "adapter.rank=2", "--negatives", "mined",
        "--loss", "triplet", "--lr", "0.01", "--seed", "3",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    folder = tmp_path / "one"
    there = {path.name for path in folder.iterdir()}
    assert there == {
        "best", "journal.jsonl", "leaderboard.csv", "output.log", "report.html", "run.json",
        "trials",
    }  # fmt: skip
    config = values(folder)
    assert config["adapter"]["rank"] == 2
    assert config["optimizer"]["lr"] == 0.01
    assert config["training"]["seed"] == 3
    row, untouched = leaderboard(folder)
    assert (untouched["state"], untouched["rank"], untouched["trial"]) == ("untouched", "", "")
    assert 0 <= float(untouched["accuracy"]) <= 1
    assert "untouched base" in (folder / "best" / "README.md").read_text()
    assert (row["state"], row["epochs"]) == ("finished", "2")
    assert "epoch 2 of 2: loss" in result.output
    model = SentenceTransformer(str(folder / "best"), trust_remote_code=True)
    assert model.encode(["a", "b"]).shape == (2, 16)
    assert json.loads((folder / "run.json").read_text())["versions"]["torch"]


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ([], r"\(worst: (de|gu) [\d.]+\)"),
        (["-v"], r"\((de [\d.]+, gu|gu [\d.]+, de) [\d.]+\)"),
        (["-q"], None),
    ],
)
def test_how_much_is_told(tmp_path: Path, flag: list[str], told: str | None) -> None:
    result = finetune(tmp_path, *flag)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert len(epochs) == (2 if told else 0)
    assert all(re.search(told or "", line) for line in epochs)
    assert any("the base without training: " in line for line in lines) is bool(told)
    assert lines[-1].startswith("checkpoints: ") and lines[-2].startswith("best model: ")


def test_quiet_and_verbose_is_refused(tmp_path: Path) -> None:
    result = finetune(tmp_path, "-q", "-v")
    assert result.exit_code == 2
    assert "--quiet is given beside --verbose; one of them must be left out" in result.output


def test_the_same_seed_trains_the_same_model(tmp_path: Path) -> None:
    scores = []
    for part in ("a", "b"):
        assert finetune(tmp_path / part, "--pooling", "attention").exit_code == 0
        row, _ = leaderboard(tmp_path / part / "one")
        scores.append({k: v for k, v in row.items() if k != "seconds"})
    assert scores[0] == scores[1]


def test_a_trial_of_a_run_is_trained_anew_and_on_other_sentences(tmp_path: Path) -> None:
    def again(name: str, *flags: str) -> Result:
        run = ["--from", str(tmp_path / "one"), "--output", str(tmp_path), "--name", name]
        return CliRunner().invoke(app, [*run, *flags])

    def rows(name: str) -> list[dict[str, str]]:
        found = leaderboard(tmp_path / name)
        return [{k: v for k, v in row.items() if k != "seconds"} for row in found]

    flags = ["--pooling", "attention", "--lr", "0.01"]
    assert finetune(tmp_path, *flags).exit_code == 0
    result = again("again")
    assert result.exit_code == 0, result.output
    assert rows("again") == rows("one")  # the same settings, data and seed

    file = tmp_path / "more.tsv"
    lines = [f"number {n}\tNummer {n} von {n * n}\n" for n in range(60)]
    file.write_text("en\tde\n" + "".join(lines), encoding="utf-8")
    more = again(
        "more", "--train", str(file), "--languages", "en,de", "--epochs", "1", "--trial", "0"
    )
    assert more.exit_code == 0, more.output
    changed = values(tmp_path / "more")
    before = values(tmp_path / "one")
    assert changed["training"].pop("pairs_per_epoch") is None
    assert before["training"].pop("pairs_per_epoch") == 16
    assert changed == before
    row, _ = rows("more")
    assert (row["epochs"], row["state"]) == ("1", "finished")

    for asked, words in (
        (["--pooling", "max"], "--pooling: is given beside --from"),
        (["--trial", "7"], "--trial is 7; it must be one of the run's 1 trials"),
    ):
        refused = again("refused", *asked)
        assert refused.exit_code == 2
        assert words in refused.output
    assert not (tmp_path / "refused").exists()
    alone = finetune(tmp_path, "--trial", "1")
    assert alone.exit_code == 2 and "--from must be, too" in alone.output


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--pooling", "meen"], "--pooling meen: pooling: is 'meen'; it must be one of"),
        (["--mlp-hidden", "64"], "--mlp-hidden is 64, but the head has no hidden layer"),
        (["--mlp-head", "--head", "moe"], "--mlp-head is given beside --head moe"),
        (["--mlp-head", "--mlp-hidden", "0"], "--mlp-hidden 0: head.hidden"),
        (["--base", "/nowhere"], "--base /nowhere: base.model is '/nowhere', which does not exist"),
        (["--train", "no.csv"], "--train no.csv: data.train: is 'no.csv', which does not exist"),
        (
            ["--base", "~nobody_of_that_name/m"],
            "base.model is '~nobody_of_that_name/m', which does",
        ),
        (["--train", "~nobody_of_that_name/a.csv"], "is '~nobody_of_that_name/a.csv', which does"),
        (["--lr", "-1"], "--lr -1.0: optimizer.lr: is -1.0; it must be greater than 0"),
        (["--loss", "distillation"], "loss.teacher: is missing; it must be given"),
        (["--loss", "distillation", "--set", "loss.teacher=/no"], "loss.teacher"),
        (["--set", "optimizer.lr={float: [0.1, 1]}"], "is a domain"),
        (["--set", "adapter.rank=4"], "rank"),
        (["--pooling", "cls"], "pooling.kind is 'cls', but the first token of a decoder"),
        (["--name", "../x"], "--name is '../x'"),
        (["--set", "search.trials=5"], "--set search.trials=5: search.trials: has no effect here"),
        (["--set", "lane.workers=2"], "lane.workers: has no effect here, where one model"),
        (["--set", "search.sampler.kind=grid"], "search.sampler.kind: has no effect here"),
        (["--set", "search={trials: 3}"], "search: has no effect here"),
        (["--set", "search.scheduler.grace_epochs=9"], "grace_epochs: is 9; it must be at most"),
        (["--set", "head.hidden=3"], "head.hidden: is no known key"),
        (["--languages", ""], "--languages is ''; it must name something"),
    ],
)
def test_a_fault_is_one_sentence(tmp_path: Path, flags: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["--output", str(tmp_path / "runs"), *SMALL, *flags])
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_as_a_program_it_exits_with_the_same_sentence(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "search.finetune", "--output", str(tmp_path), "--pooling", "meen"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert process.returncode == 2
    assert process.stderr.startswith("error: --pooling meen: pooling: is 'meen'; it must be one of")
    assert "Traceback" not in process.stderr


def test_signals_while_best_is_made_wait_for_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "search.finetune", "--output", str(tmp_path), "--name", "one"]
    with subprocess.Popen(
        [*command, *SMALL], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=Path(__file__).parents[2], start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if lines[-1] == "writing and checking best/":
                process.send_signal(signal.SIGTERM)  # as `timeout` does, first to the command
                os.killpg(process.pid, signal.SIGTERM)
    assert process.returncode == 143, "\n".join(lines)
    assert lines[-1] == "ended by SIGTERM, when the trials had ended"
    SentenceTransformer(str(tmp_path / "one" / "best"))
    assert not list((tmp_path / "one").glob("*.new"))


def rows_of(tmp_path: Path, rows: int) -> str:
    file = tmp_path / "rows.tsv"
    lines = [f"sentence {row}\tSatz {row}" for row in range(rows)]
    file.write_text("\n".join(["en\tde", *lines, ""]), encoding="utf-8")
    return str(file)


@pytest.mark.parametrize(("rows", "pairs"), [(2, 1), (5, 4), (17, 15)])
def test_data_that_fill_no_batch_are_refused_with_both_numbers(
    tmp_path: Path, rows: int, pairs: int
) -> None:
    result = CliRunner().invoke(
        app, ["--train", rows_of(tmp_path, rows), "--output", str(tmp_path / "runs")]
    )
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --batch-size")
    assert f"is 64, but there are {pairs} pairs to train on" in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("rows", "size"), [(18, 16), (60, 32)])
def test_a_default_batch_is_smaller_for_few_pairs_and_says_so(
    tmp_path: Path, rows: int, size: int
) -> None:
    result = CliRunner().invoke(
        app,
        ["--train", rows_of(tmp_path, rows), "--output", str(tmp_path), "--name", "one",
         "--epochs", "1", "--width", "16"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert f"note: a step takes {size} pairs instead of 64" in result.stdout
    assert values(tmp_path / "one")["training"]["batch_size"] == size
    record = json.loads((tmp_path / "one" / "run.json").read_text())
    (_, german) = record["data"]["health"]["languages"]
    assert (german["language"], german["rows"]) == ("de", rows)
    assert german["places"]["train"] + german["places"]["validation"] == rows
    warnings = record["data"]["health"]["warnings"]
    assert any("validation pairs, fewer than 100" in warning for warning in warnings)
    given = CliRunner().invoke(
        app, ["--train", rows_of(tmp_path, rows), "--output", str(tmp_path), "--batch-size", "64"]
    )
    assert given.exit_code == 2
