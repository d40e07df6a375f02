"""Every command in README, docs, space files and helps is one that can be typed; most are run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup
from typer.testing import CliRunner

from search.__main__ import COMMANDS, app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Others search, train, need the run folder of a search, or build every model of a space.
QUICK = ("data", "tokens", "cache", "schema")


def written() -> list[str]:
    """Every `isogloss` command, in one line each."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [line.strip() for line in lines if line.strip().startswith("isogloss ")]
        found += re.findall(r"`(isogloss \w+ [^`]+)`", text)
    for space in sorted((ROOT / "spaces").glob("*.yaml")):
        text = space.read_text(encoding="utf-8").replace("\\\n#", " ")
        found += re.findall(r"^# +(isogloss .*)$", text, re.MULTILINE)
    for single in COMMANDS.values():
        epilog = str(single.registered_commands[0].epilog)
        found += re.findall(r"`(isogloss [^`]+)`", epilog)
    return sorted(set(found))


def words(line: str) -> list[str]:
    """What the shell hands over, without the comment at the end."""
    plain = line.replace("<name>", "NAME").partition(" > ")[0]
    given = shlex.split(plain, comments=True)[1:]
    return ["sentences.tsv" if word == "FILE" else word for word in given]


def runs(*, quick: bool) -> list[str]:
    """The lines that run by themselves, each once, in seconds or not."""
    lines = {tuple(words(line)): line for line in ALL if "kind: numbers" not in line}
    return [
        line
        for (name, *rest), line in lines.items()
        if (name in QUICK) == quick and (quick or name in ("init", "params") or "--dry-run" in rest)
    ]


ALL = written()


def test_there_are_some() -> None:
    assert len(ALL) > 30
    assert "isogloss search spaces/lora_family.yaml" in ALL


@pytest.mark.parametrize("line", ALL)
def test_it_can_be_parsed(line: str) -> None:
    group = typer.main.get_command(app)
    context = group.make_context("isogloss", words(line))
    name, *arguments = words(line)
    assert isinstance(group, TyperGroup)
    command = group.get_command(context, name)
    assert command is not None, name
    if name == "cache":
        assert isinstance(command, TyperGroup)
        command, arguments = command.commands[arguments[0]], arguments[1:]
    command.make_context(name, arguments, parent=context)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the commands name."""
    rows = [f"number {n}\tZahl {n}\tસંખ્યા {n}" for n in range(400)]
    text = "\n".join(["en\tde\tgu", *rows]) + "\n"
    for name in ("sentences.tsv", "a.tsv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "b.tsv").write_text(text.replace("er ", "er a").replace("l ", "l a"))
    (tmp_path / "corpus.en").write_text("".join(f"number {n}\n" for n in range(400)))
    (tmp_path / "corpus.de").write_text("".join(f"Zahl {n}\n" for n in range(400)))
    (tmp_path / "spaces").symlink_to(ROOT / "spaces")
    (tmp_path / "path" / "to").mkdir(parents=True)
    for place in ("path/to/model", "path/to/model-or-hub-name", "DIR"):
        (tmp_path / place).symlink_to(ROOT / "components/base/tiny")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", runs(quick=True))
def test_it_runs(line: str, folder: Path) -> None:
    result = CliRunner().invoke(app, words(line))
    assert result.exit_code == 0, result.output


@pytest.mark.slow
@pytest.mark.parametrize("line", runs(quick=False))
def test_it_runs_in_time(line: str, folder: Path) -> None:
    test_it_runs(line, folder)


@pytest.mark.slow
def test_the_five_minutes(folder: Path) -> None:
    """What README has one type: search, look, go on, export."""

    def isogloss(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "search", *arguments],
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = isogloss(
        "search", "spaces/quick.yaml", "--base", "path/to/model-or-hub-name", "--train",
        "sentences.tsv", "--languages", "en,de,gu", "--set", "training.pairs_per_epoch=null",
        "--timeout", "5m", "--name", "NAME", "--json",
    )  # fmt: skip
    assert said.splitlines()[0] == "checking spaces/quick.yaml (time limit: 300 s)"
    assert '"status": 0' in said.splitlines()[-1]
    isogloss("report", "runs/NAME")
    isogloss("export", "runs/NAME", "--to", "model")
    isogloss("search", "--resume", "runs/NAME")
    isogloss("finetune", "--base", "path/to/model", "--train", "sentences.tsv", "--adapter", "lora",
             "--set", "adapter.rank=16", "--epochs", "1")  # fmt: skip
