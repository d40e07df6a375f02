"""Bases of many architectures: finetune runs to its end with each, best/ and its score included."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer
from typer.testing import CliRunner

from search.finetune import app
from tests.components.base.tiny_models import CONFIGS, byte_tokenizer, write_folder

FROZEN = ("albert", "clip", "deberta", "gemma3-images", "modernbert", "mpnet", "opt", "t5")
LORA = ("--adapter", "lora", "--set", "adapter.targets=all-linear", "--set", "adapter.rank=2")
ROWS = [(f"line {number}", f"Zeile {number}") for number in range(40)]


@pytest.fixture(autouse=True)
def loggers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries log to the stderr that they first saw, which a test before may have closed."""
    for name in ("transformers", "sentence_transformers", "datasets", "peft"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])


def finetune(base: Path, tmp_path: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and words of the command."""
    data = tmp_path / "data.tsv"
    data.write_text("en\tde\n" + "".join(f"{en}\t{de}\n" for en, de in ROWS))
    result = CliRunner().invoke(
        app,
        ["--base", str(base), "--train", str(data), "--epochs", "1", "--width", "16",
         "--batch-size", "8", "--output", str(tmp_path), "--name", "run", *arguments],
    )  # fmt: skip
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.output


@pytest.mark.parametrize("name", CONFIGS)
def test_with_adapters(name: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "base", CONFIGS[name])
    last = () if name == "albert" else ("--set", "adapter.last_layers=1")
    status, text = finetune(tmp_path / "base", tmp_path, *LORA, *last)
    assert status == 0, text


@pytest.mark.parametrize("name", FROZEN)
def test_frozen(name: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "base", CONFIGS[name])
    status, text = finetune(tmp_path / "base", tmp_path)
    assert status == 0, text


def test_layers_that_share_their_weights_have_no_last_ones(tmp_path: Path) -> None:
    write_folder(tmp_path / "base", CONFIGS["albert"])
    status, text = finetune(tmp_path / "base", tmp_path, *LORA, "--set", "adapter.last_layers=1")
    assert status == 2
    assert "but the base's 3 layers share the weights of 1; it must be 'all'" in text


def test_a_tokenizer_without_pad_or_eos_gives_a_best_that_loads_anywhere(tmp_path: Path) -> None:
    write_folder(tmp_path / "base", CONFIGS["gpt2"])
    byte_tokenizer(unk_token="<unk>").save_pretrained(tmp_path / "base")
    status, text = finetune(tmp_path / "base", tmp_path)
    assert status == 0, text
    best = SentenceTransformer(str(tmp_path / "run" / "best"), device="cpu")
    assert best.encode(["a", "a longer sentence"]).shape == (2, 16)


def test_what_was_cut_is_told(tmp_path: Path) -> None:
    write_folder(tmp_path / "base", CONFIGS["mpnet"])
    status, text = finetune(tmp_path / "base", tmp_path)
    assert status == 0, text
    assert (
        ", where the positions of a MPNetModel of this size end, and not at base.max_length" in text
    )
