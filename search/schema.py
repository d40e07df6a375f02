"""The command ``isogloss schema`` (``python -m search.schema``): the form of space files."""

from __future__ import annotations

import json

import typer

from search.runs import options
from search.runs.console import exit_on_input_error, make_app

app = make_app()


@app.command(epilog=options.examples("isogloss schema > space.schema.json"))
def main() -> None:
    """Print the JSON schema of space files, for editors that complete and check YAML."""
    from search.space.schema import space_schema

    with exit_on_input_error():
        typer.echo(json.dumps(space_schema(), indent=1))


if __name__ == "__main__":
    app()
