"""The command ``isogloss`` (``python -m search``): all commands in one."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from search import cache, export_command, finetune, init, params, schema, search, tokens
from search.data import __main__ as data
from search.report import __main__ as report
from search.runs.console import make_app

app = make_app(completion=True, commands=True)

# Name -> the application of a single command, in the order of the help.
COMMANDS = {
    "search": search.app,
    "finetune": finetune.app,
    "init": init.app,
    "tokens": tokens.app,
    "data": data.app,
    "params": params.app,
    "report": report.app,
    "export": export_command.app,
    "schema": schema.app,
}
for name, single in COMMANDS.items():
    (command,) = single.registered_commands
    assert command.callback is not None
    app.command(name, epilog=command.epilog)(command.callback)
app.add_typer(cache.app, name="cache", help="List or clear what is stored of frozen layers.")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        try:
            typer.echo(f"isogloss {version('isogloss')}")
        except PackageNotFoundError:  # run from a folder of the sources
            typer.echo("isogloss, not installed")
        raise typer.Exit


@app.callback()
def main(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """Search for the best cross-lingual sentence embedder of a base model."""


if __name__ == "__main__":
    app(prog_name="isogloss")
