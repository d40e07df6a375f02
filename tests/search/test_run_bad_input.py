"""The command with bad input: exit status 2, one sentence, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
import torch
from typer.testing import CliRunner

from search.search import app

GOOD = """
data: {train: builtin:cldr, languages: [en, de], train_rows: 80, validation_rows: 5}
base: {model: builtin:tiny}
"""


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong must be found before Ray starts; and no test may hang on a search."""
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)  # also where there is a GPU


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder, with a good space file in it."""
    (tmp_path / "space.yaml").write_text(GOOD)
    return tmp_path


def refused(folder: Path, *arguments: str, space: str = "space.yaml") -> str:
    """Run the command; give back what it said."""
    output = folder / "runs"
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    result = CliRunner().invoke(
        app, [str(folder / space), "--output", str(output), "--name", "mine", *arguments]
    )
    said = result.stderr
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before
    return said


def one_sentence(said: str) -> str:
    (line,) = said.splitlines()
    assert line.startswith("error: ")
    return line


SPACES: dict[str, tuple[str, str]] = {
    "empty": ("", "holds nothing"),
    "not yaml": ("a: [1", "is not YAML"),
    "no data": ("base: {model: builtin:tiny}", "data: is missing; it must be given"),
    "unknown key": (GOOD + "pooing: {kind: mean}", "did you mean 'pooling'?"),
    "repeated key": (GOOD + "base: {model: builtin:tiny}", "given twice"),
    "no such kind": (GOOD + "pooling: {kind: maen}", "did you mean 'mean'?"),
    "not a number": (GOOD + "optimizer: {lr: .nan}", "is nan; it must be a finite number"),
    "a turned range": (
        GOOD + "optimizer: {lr: {float: [1, 0.1]}}",
        "from the lower to the higher end",
    ),
    "does not fit the base": (
        GOOD + "adapter: {kind: lora, last_layers: 99}",
        "is 99; it must be at most 6",
    ),
    "no such target": (
        GOOD + "adapter: {kind: lora, targets: [nothing]}",
        "'nothing', which matches no linear layer",
    ),
}


@pytest.mark.parametrize("case", SPACES)
@pytest.mark.parametrize("dry", [True, False], ids=["dry run", "search"])
def test_a_bad_space_file(folder: Path, case: str, dry: bool) -> None:
    text, words = SPACES[case]
    (folder / "space.yaml").write_text(text)
    said = one_sentence(refused(folder, *(["--dry-run"] if dry else [])))
    assert words in said
    assert f"{folder / 'space.yaml'}:" in said


def test_a_space_file_that_is_not_there_or_no_text(folder: Path) -> None:
    assert "No such file" in one_sentence(refused(folder, space="no.yaml"))
    assert "Is a directory" in one_sentence(refused(folder, space="."))
    (folder / "space.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in one_sentence(refused(folder))


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("nonsense", "must be key=value"),
        ("base.model=builtin:huge", "built in is only builtin:tiny"),
        ("base.model=./nowhere", "does not exist"),
        ("data.train=nowhere.csv", "does not exist"),
        ("data.pivot=fr", "is 'fr'; it must be among the languages, en, de"),
        ("data.languages=[en]", "two languages or more"),
        ("lane.gpus=1", "there is no GPU"),
        ("training.batch_size=0", "is 0; it must be"),
        ("search.concurrency=4096", "is 4096; it must be at most"),
        ("search.checkpoints=ftp://host/folder", "which cannot be used: "),
    ],
)
@pytest.mark.parametrize("dry", [True, False], ids=["dry run", "search"])
def test_a_bad_assignment(folder: Path, assignment: str, words: str, dry: bool) -> None:
    said = one_sentence(refused(folder, "--set", assignment, *["--dry-run"] * dry))
    assert words in said
    assert said.startswith(f"error: --set {assignment}: ")


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("lane.workers=4096", "needs 4096 workers with 1 CPU"),
        ("lane.cpus=4096", "needs 1 worker with 4096 CPU"),
    ],
)
def test_a_lane_too_large_for_this_machine(folder: Path, assignment: str, words: str) -> None:
    # Before it is said that the batch is no multiple of so many workers.
    assert words in one_sentence(refused(folder, "--set", assignment))


def test_every_fault_has_its_own_line(folder: Path) -> None:
    (folder / "space.yaml").write_text(GOOD + "pooing: {}\noptimizer: {lr: 0}\n")
    said = refused(folder, "--set", "training.seed=-1").splitlines()
    assert len(said) == 3
    assert all(line.startswith("error: ") for line in said)


@pytest.mark.parametrize("name", ["../mine", "/mine", "a/b", ".hidden", "a b", "x" * 300, "-x"])
@pytest.mark.parametrize("dry", [True, False], ids=["dry run", "search"])
def test_a_name_that_would_leave_the_output_folder(folder: Path, name: str, dry: bool) -> None:
    assert "--name" in one_sentence(refused(folder, f"--name={name}", *["--dry-run"] * dry))


def test_a_name_that_is_in_use(folder: Path) -> None:
    (folder / "runs" / "mine").mkdir(parents=True)
    assert "is in use" in one_sentence(refused(folder))


def test_an_output_folder_that_cannot_be_made(folder: Path) -> None:
    (folder / "file").write_text("")
    said = one_sentence(refused(folder, "--output", str(folder / "file")))
    assert said.startswith("error: --output is ") and "a file; it must be a folder" in said


def test_an_address_of_the_ray_client(folder: Path) -> None:
    said = one_sentence(refused(folder, "--address", "ray://127.0.0.1:10001"))
    assert "must be 'auto' or HOST:PORT" in said


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nobody.invalid:6379", "here", "auto"])
def test_an_address_of_nobody(folder: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")  # where 'auto' looks first
    said = one_sentence(refused(folder, "--address", address))
    assert f"no Ray cluster can be joined at {address!r}: " in said


@pytest.mark.parametrize(
    "arguments", [("--trials", "0"), ("--trials", "many"), ("--concurrency", "0"), ("--trails=3",)]
)
def test_a_bad_option(folder: Path, arguments: tuple[str, ...]) -> None:
    assert arguments[0].split("=")[0] in refused(folder, *arguments)


DATA: dict[str, tuple[Callable[[Path], object], str]] = {
    "unknown suffix": (lambda f: (f / "d.txt").write_text("x"), "must end in one of .parquet"),
    "not readable": (lambda f: (f / "d.parquet").write_bytes(b"\x00" * 99), "is no parquet file"),
    "empty": (lambda f: (f / "d.csv").write_text(""), "is empty"),
    "a column missing": (lambda f: (f / "d.csv").write_text("en,deu\na,b\n"), "mean 'deu'?"),
    "one row": (
        lambda f: (f / "d.csv").write_text("en,de\na,b\n"),
        "has one row that can be used; it must have two or more",
    ),
}


@pytest.mark.parametrize("case", DATA)
def test_bad_data(folder: Path, case: str) -> None:
    make, words = DATA[case]
    make(folder)
    (file,) = folder.glob("d.*")
    said = one_sentence(refused(folder, "--set", f"data.train={file}"))
    assert words in said


def test_as_a_user_runs_it(folder: Path) -> None:
    """In a process of its own, by a path relative to where it is started."""
    (folder / "space.yaml").write_text(GOOD + "pooling: {kind: maen}\n")
    done = subprocess.run(
        [sys.executable, "-m", "search.run", "space.yaml"],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == "checking space.yaml\n"
    assert "did you mean 'mean'?" in one_sentence(done.stderr)
    assert [path.name for path in folder.iterdir()] == ["space.yaml"]


def test_an_output_path_that_is_too_long(folder: Path) -> None:
    result = CliRunner().invoke(
        app, [str(folder / "space.yaml"), "--output", str(folder / ("a" * 5000)), "--name", "mine"]
    )
    assert result.exit_code == 2, result.output
    assert "cannot be made: File name too long" in one_sentence(result.stderr)
