"""The command that makes a model of a trial, on the folder of a run as it was left."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from typer.testing import CliRunner, Result

from search.events.journal import Journal, read_journal
from search.events.types import (
    EpochDone,
    FinalRow,
    FinalsDecided,
    Interval,
    TrialEnded,
    TrialStarted,
)
from search.export import load_folder
from search.export_command import app
from search.finetune import app as finetune

SENTENCES = ["Monday, 3 April 2017", "zwölf Euro"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has come to its end."""
    torch.set_num_threads(1)
    output = tmp_path_factory.mktemp("runs")
    result = CliRunner().invoke(
        finetune,
        [
            "--output", str(output), "--name", "one", "--languages", "en,de,gu", "--epochs", "2",
            "--width", "16", "--adapter", "lora", "--set", "data.train_rows=24",
            "--set", "data.validation_rows=8", "--set", "training.pairs_per_epoch=16",
            "--set", "training.batch_size=8", "--set", "base.max_length=32",
            "--set", "training.matryoshka=[8]",
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return output / "one"


def export(run: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [str(run), *arguments])


def cut_short(run: Path, to: Path, lines: int) -> Path:
    """The run as it would lie there, had it been killed before the last lines of its journal."""
    shutil.copytree(run, to)
    shutil.rmtree(to / "best")
    journal = to / "journal.jsonl"
    kept = journal.read_bytes().splitlines(keepends=True)[:-lines]
    journal.write_bytes(b"".join(kept))
    return to


def test_best_again_with_its_base_by_name(run: Path, tmp_path: Path) -> None:
    result = export(run, "--to", str(tmp_path / "model"), "--adapters", "peft")
    assert result.exit_code == 0, result.output
    assert "trial 0, finished at epoch 2" in result.output
    assert "note: the model names its base, " in result.output
    assert f'SentenceTransformer("{tmp_path / "model"}")' in result.output
    best, found = load_folder(run / "best"), load_folder(tmp_path / "model")
    np.testing.assert_allclose(found.encode(SENTENCES), best.encode(SENTENCES), rtol=0, atol=1e-5)
    card = ModelCard.load(tmp_path / "model" / "README.md")
    assert (
        card.data.model_name and card.data.eval_results and card.data.language == ["de", "en", "gu"]
    )
    assert "holds what was trained only" in card.text and "sentences to train on" in card.text
    again = export(run, "--to", str(tmp_path / "model"))
    assert again.exit_code == 2 and "must be new or empty" in again.output


def with_finals(run: Path, to: Path) -> Path:
    """The run with a worse trial beside its own, which won the final comparison by its repeat."""
    shutil.copytree(run, to)
    own = list(read_journal(to / "journal.jsonl"))
    journal = Journal(to / "journal.jsonl")
    for repeat in (0, 1):
        shutil.copytree(run / "trials" / "0", to / "trials" / ("1-seed1" if repeat else "1"))
        for event in own:
            if isinstance(event, TrialStarted | EpochDone | TrialEnded):
                worse = {"accuracy": 0.0} if isinstance(event, EpochDone) else {}
                journal.append(event.model_copy(update={"trial": 1, "repeat": repeat, **worse}))
    row = FinalRow(
        trial=1, repeats=(1,), validation=0.5, lowest=0.5, highest=0.5, by_language={},
        measured=Interval(value=0.5, low=0.4, high=0.6), trainable_parameters=1,
    )  # fmt: skip
    journal.append(
        FinalsDecided(
            trial=1, repeat=1, split="validation", compared="accuracy", rows=(row,), comparisons=()
        )
    )
    journal.close()
    return to


def test_the_model_that_the_finals_chose(run: Path, tmp_path: Path) -> None:
    decided = with_finals(run, tmp_path / "decided")
    result = export(decided, "--to", str(tmp_path / "model"))
    assert result.exit_code == 0, result.output
    assert "trial 1 trained anew with another seed, finished at epoch 2" in result.output
    result = export(decided, "--to", str(tmp_path / "drawn"), "--trial", "1")
    assert result.exit_code == 0 and "trial 1, finished at epoch 2" in result.output
    shutil.rmtree(decided / "trials" / "1-seed1")
    result = export(decided, "--to", str(tmp_path / "gone"))
    assert result.exit_code == 2
    assert "trial 1 with seed 1 of the finals has no checkpoint" in result.output
    assert "with --trial, here one of: 0, 1" in result.output


def test_a_run_that_was_interrupted(run: Path, tmp_path: Path) -> None:
    # The checkpoint is of epoch 2; of that the journal may not have heard.
    for lines in (1, 2):
        cut = cut_short(run, tmp_path / f"cut{lines}", lines)
        to = tmp_path / f"model{lines}"
        result = export(cut, "--to", str(to), "--trial", "0", "--truncate-dim", "8")
        assert result.exit_code == 0, result.output
        assert "trial 0, unfinished at epoch 2" in result.output
        assert "note" not in result.output
        whole = load_folder(run / "best").encode(SENTENCES)[:, :8]
        whole /= np.linalg.norm(whole, axis=1, keepdims=True)
        np.testing.assert_allclose(load_folder(to).encode(SENTENCES), whole, rtol=0, atol=1e-5)


def test_dimensions_that_were_not_trained_alone_are_told_of(run: Path, tmp_path: Path) -> None:
    result = export(run, "--to", str(tmp_path / "model"), "--truncate-dim", "4")
    assert result.exit_code == 0, result.output
    assert "the first 4 dimensions were not trained to be an embedding (only 8" in result.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--trial", "3"], "--trial is 3; it must be one of the run's 1 trials"),
        (["--truncate-dim", "16"], "--truncate-dim is 16; it must be less than the 16 dimensions"),
        (["--push", "mine"], "--push is 'mine'; it must be OWNER/NAME"),
        (["--push", "me/mine"], "no token of the hub is known"),
    ],
)
def test_options_at_fault(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    result = export(run, "--to", str(tmp_path / "model"), *options)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert not (tmp_path / "model").exists()


def test_a_folder_without_a_checkpoint_or_a_run_is_refused(run: Path, tmp_path: Path) -> None:
    result = export(tmp_path, "--to", str(tmp_path / "model"))
    assert result.exit_code == 2 and "is no run folder" in result.output
    cut = cut_short(run, tmp_path / "cut", 1)
    shutil.rmtree(cut / "trials")
    for options, said in (
        ([], "no trial has a checkpoint"),
        (["--trial", "0"], "trial 0 has no checkpoint"),
    ):
        result = export(cut, "--to", str(tmp_path / "model"), *options)
        assert result.exit_code == 2 and said in result.output, result.output


def test_sentences_that_have_changed_are_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = cut_short(run, tmp_path / "cut", 1)
    record = (cut / "run.json").read_text().replace('"train_rows": 24', '"train_rows": 23')
    (cut / "run.json").write_text(record)
    result = export(cut, "--to", str(tmp_path / "model"))
    assert result.exit_code == 2, result.output
    assert "data.train: holds other sentences than in the run" in result.output
