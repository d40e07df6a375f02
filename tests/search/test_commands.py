"""The command `isogloss`: one for all, light to start, the same flag for the same thing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from search.__main__ import COMMANDS, app

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "ray", "transformers", "optuna", "peft", "datasets", "pyarrow", "plotly")


def test_the_entry_point_is_there() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["isogloss"].partition(":")
    assert getattr(import_module(module), name) is app


def test_help_imports_nothing_heavy() -> None:
    """A help that imports torch takes seconds."""
    code = (
        "import sys, search.__main__, search.run\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("name", [*COMMANDS, "cache list"])
def test_every_help_has_an_example(name: str, flag: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), flag])
    assert result.exit_code == 0, result.output
    assert f"isogloss {name}" in result.output


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("isogloss")


def test_a_misspelt_command_is_named() -> None:
    result = CliRunner().invoke(app, ["finetun"])
    assert result.exit_code == 2
    assert "Did you mean 'finetune'?" in result.stderr


def test_the_same_flag_has_the_same_help() -> None:
    """Options that several commands have are one option."""
    seen: dict[str, set[str]] = {}
    for name in ("search", "finetune", "tokens", "data"):
        command = typer.main.get_command(COMMANDS[name])
        for parameter in command.params:
            text = getattr(parameter, "help", None)
            for flag in parameter.opts:
                if flag in ("--base", "--train", "--validation", "--languages", "--epochs",
                            "--output", "--name", "--set", "--pivot", "--json"):  # fmt: skip
                    seen.setdefault(flag, set()).add(str(text))
    assert {flag for flag, texts in seen.items() if len(texts) > 1} == set()
    assert {"--base", "--train", "--validation", "--languages", "--epochs"} <= seen.keys()
