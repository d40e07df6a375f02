"""The command: ``python -m search.data FILE...``: what parallel sentences are worth."""

from __future__ import annotations

from typing import Annotated

import typer

from search.runs.console import exit_on_input_error, make_console
from search.settings.problems import InputError

# Key of a space file -> the option that stands for it here.
OPTIONS = {
    "data.train": "FILE",
    "data.validation": "--validation",
    "data.languages": "--languages",
    "data.pivot": "--pivot",
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Parallel sentences, as --train of search.finetune; several files are one source.",
            show_default=False,
        ),
    ],
    base: Annotated[str, typer.Option(help="Folder or hub name of the model.")] = "builtin:tiny",
    languages: Annotated[
        str | None, typer.Option(help="Columns to use, with commas.", show_default="all")
    ] = None,
    pivot: Annotated[str, typer.Option(help="Language the others are scored against.")] = "en",
    max_length: Annotated[
        int, typer.Option(min=4, help="Tokens after which a sentence is cut.")
    ] = 128,
    validation: Annotated[
        str | None, typer.Option(help="Sentences to validate with.", show_default="held out")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another setting of data: data.seed=1."),
    ] = None,
) -> None:
    """Count how every sentence of a source is used, and how a model's tokenizer splits it.

    It reads, divides and tokenises as a search would, and trains nothing.

    Exit status: 0 a search could use the sentences; 2 they or the model are at fault; 130
    interrupted.
    """
    with exit_on_input_error():
        for option, value in (("--base", base), ("--languages", languages)):
            if value == "":
                raise InputError(f"{option} is ''; it must name something")
        # Imported here: they take seconds, and --help and a misspelt option need none of them.
        from components.base import BaseConfig, load_skeleton
        from search.data.settings import DataSettings
        from search.data.split import load_split
        from search.report.health import print_health
        from search.runs.options import as_options
        from search.settings.sections import CacheSettings
        from search.settings.trial import TrainingConfig
        from search.space.source import Source, assign, option_value

        sources = [option_value(file, "FILE") for file in files]
        data: dict[str, object] = {
            "train": sources[0] if len(sources) == 1 else sources,
            "pivot": pivot,
        }
        if validation is not None:
            data["validation"] = option_value(validation, "--validation")
        if languages is not None:
            data["languages"] = option_value(languages, "--languages")
        for assignment in assignments or []:
            if not assignment.startswith("data."):
                raise InputError(f"--set {assignment}: only keys of data have an effect here")
        settings = Source({"data": data}, {})
        assign(settings, assignments or [])
        with as_options(OPTIONS):
            chosen = DataSettings.model_validate(settings.tree["data"])
            skeleton = load_skeleton(BaseConfig(model=base, max_length=max_length))
            split = load_split(chosen, skeleton, CacheSettings())
        console = make_console()
        print_health(console, split.health)
        batch, pairs = TrainingConfig().batch_size, split.health.train_pairs
        if pairs < batch:
            console.print(
                f"warning: there are {pairs} pairs to train on; a search takes {batch} a step, "
                f"unless training.batch_size says less, and refuses fewer than a step takes",
                soft_wrap=True,
                style="yellow",
            )


if __name__ == "__main__":
    app()
