"""What docs/extending.md tells to write works, in a copy of the packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages with the files that the page shows."""
    folder = tmp_path_factory.mktemp("copy")
    for package in ("components", "search"):
        shutil.copytree(ROOT / package, folder / package)
    shown = re.findall(r"`([\w/]+\.py)`:\n\n```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(shown) == 4
    for name, source in shown:
        assert not (folder / name).exists()
        (folder / name).write_text(source, encoding="utf-8")
    return folder


def run(folder: Path, *command: str) -> str:
    """Run a command in the copy, whose packages must be the ones that are imported."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "ISOGLOSS_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_pooling_of_the_page_is_trained_and_exported(copy: Path) -> None:
    assert "`isogloss finetune --pooling blend --epochs 1`" in TEXT
    said = run(
        copy, "search.finetune", "--pooling", "blend", "--epochs", "1", "--name", "one",
        "--set", "data.train_rows=200", "--set", "training.pairs_per_epoch=256",
    )  # fmt: skip
    assert "blend+linear+none+info_nce" in said
    assert (copy / "runs" / "one" / "best" / "modules.json").exists()
    page = (copy / "runs" / "one" / "report.html").read_text(encoding="utf-8")
    assert "<h2>Times</h2>" in page  # the section of the page


def test_the_metric_of_the_page_is_measured(copy: Path) -> None:
    """Against hand-written ranks: of three sentences, the translation of one is second."""
    assert "search.metric='{kind: recall, among: 3}'" in TEXT
    (copy / "measure.py").write_text(
        """
import numpy as np, torch
from search.scoring.interface import Comparison
from search.scoring.neighbours import Direction
from search.scoring.settings import Scoring

query_QE = torch.eye(3)
candidate_CE = torch.tensor([[0.6, 0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
pair = lambda part: np.eye(3, dtype=bool)[part]
both = Comparison(Direction(query_QE, candidate_CE, pair), Direction(candidate_CE, query_QE, pair))
for among in (1, 2):
    scoring = Scoring(metric={"kind": "recall", "among": among})
    print(f"{scoring.metric.measure(both):.4f}")
"""
    )
    assert run(copy, "measure").split() == [f"{1 / 3:.4f}", "1.0000"]


def test_the_source_of_the_page_is_read(copy: Path) -> None:
    assert "`isogloss data '{kind: numbers, count: 300}'`" in TEXT
    said = run(copy, "search.data", "{kind: numbers, count: 300}")
    assert "data: 300 rows read" in said


def test_every_room_is_on_the_map() -> None:
    rooms = {path.parent.name for path in (ROOT / "search").glob("*/__init__.py")}
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert {room for room in rooms if f"| `search/{room}/` |" not in page} == set()
