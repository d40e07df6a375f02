"""Options that several commands share: the same flag for the same thing, and faults named by it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from search.settings.problems import InputError, Problem, shown
from search.space.source import Assignment, option_value

_MODEL = typer.Option(help="Folder or hub name of the model.")
Base = Annotated[str | None, _MODEL]
Model = Annotated[str, _MODEL]
Train = Annotated[
    str | None,
    typer.Option(
        help="Parallel sentences: a file or folder with a column a language, "
        "'{en: a.en, de: a.de}', or a data set of the hub, NAME:CONFIG."
    ),
]
Validation = Annotated[
    str | None,
    typer.Option(help="Likewise, to validate with.", show_default="a tenth of --train"),
]
Languages = Annotated[
    str | None,
    typer.Option(help="Columns to use: en,de.", show_default="all"),
]
Pivot = Annotated[str, typer.Option(help="Language the others are compared with.")]
MaxLength = Annotated[int, typer.Option(min=4, help="Tokens after which a sentence is cut.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Epochs of a finished trial.")]
Timeout = Annotated[
    str | None,
    typer.Option(
        help="Time for all of it, such as 90s, 3m or 1h30m; best/ is made in it.",
        show_default="none",
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Another setting: adapter.rank=8."),
]
Output = Annotated[Path, typer.Option(help="Folder that run folders are made in.")]
Name = Annotated[
    str | None, typer.Option(help="Name of the run folder.", show_default="what runs, and the time")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, as the last line, for scripts.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only where the result is, and faults.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print a line an epoch, with every language.")
]

# Option -> the key of a space file that it sets.
KEYS = {
    "base": "base.model",
    "train": "data.train",
    "validation": "data.validation",
    "languages": "data.languages",
    "epochs": "search.scheduler.max_epochs",
    "trials": "search.trials",
    "concurrency": "search.concurrency",
}


def examples(text: str) -> str:
    """The epilog of a command's help: what to type, a command a line."""
    return "\n\n".join(["Examples:", *(f"- `{line}`" for line in text.strip().splitlines())])


def assignments(**given: str | int | None) -> list[Assignment]:
    """What options say, as assignments to a space; those that are None are left out.

    Args:
        given: name of an option in `KEYS` -> its value.

    Raises:
        InputError: a text is empty, or looks like a mapping or list and is none.
    """
    if empty := [f"--{name}" for name, value in given.items() if value == ""]:
        message = "is ''; it must name something"
        raise InputError([Problem("", 0, "", f"{name} {message}") for name in empty])
    return [
        Assignment(
            KEYS[name],
            option_value(value, f"--{name}") if isinstance(value, str) else value,
            f"--{name} {shown(value)}",
        )
        for name, value in given.items()
        if value is not None
    ]


def typed(context: typer.Context) -> set[str]:
    """Names of the options that were given on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, found in sources.items() if found and found.name == "COMMANDLINE"}


def print_summary(folder: Path, status: int) -> None:
    """Print how a run ended as one line of JSON.

    Args:
        status: exit status of the command.
    """
    from search.events.journal import read_journal
    from search.events.outcomes import Outcomes
    from search.runs.resume import JOURNAL

    file = folder / JOURNAL
    outcomes = Outcomes(read_journal(file) if file.exists() else ())
    best = outcomes.best_run()
    summary: dict[str, object] = {"status": status, "run": str(folder)}
    summary["best"] = str(folder / "best") if (folder / "best").exists() else None
    summary["trials"] = len(outcomes.by_trial)
    summary["trial"] = None if best is None else best.trial
    summary["accuracy"] = None if best is None else best.scores.accuracy
    summary["by_language"] = {} if best is None else best.scores.by_language
    typer.echo(json.dumps(summary))


@contextmanager
def as_options(options: Mapping[str, str]) -> Iterator[None]:
    """Name in each fault the option at fault, not the key of a space file.

    Args:
        options: key -> option; a key that has none is named as it is.
    """
    from pydantic import ValidationError

    from search.settings.wording import fault_sentence

    def named(message: str) -> str:
        for key, option in options.items():
            message = message.replace(f" {key}", f" {option}")
        return message

    try:
        yield
    except InputError as error:
        raise InputError(
            [Problem("", 0, options.get(p.key, p.key), named(p.message)) for p in error.problems]
        ) from error
    except ValidationError as error:
        raise InputError(
            [
                Problem("", 0, options.get(key, key), fault_sentence(fault))
                for fault in error.errors()
                for key in [f"data.{fault['loc'][0]}"]
            ]
        ) from error
    except ValueError as error:
        raise InputError(str(error).replace("base.model", "--base", 1)) from error
