"""The command ``isogloss data`` (``python -m search.data``): what parallel sentences are worth."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from search.runs import options
from search.runs.console import exit_on_input_error, make_app, make_console
from search.settings.problems import InputError

# Key of a space file -> the option that stands for it here.
OPTIONS = {
    "data.train": "FILE",
    "data.validation": "--validation",
    "data.languages": "--languages",
    "data.pivot": "--pivot",
}

TINY = "builtin:tiny"
OTHER_BASE = "; --base names the model that you mean to train"

app = make_app()


EXAMPLES = """
isogloss data sentences.tsv
isogloss data a.tsv b.tsv --languages en,de --base DIR
isogloss data '{en: corpus.en, de: corpus.de}' --set data.holdout=0.2
"""


@app.command(epilog=options.examples(EXAMPLES))
def main(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Parallel sentences, as --train of the other commands; several are one source.",
            show_default=False,
        ),
    ],
    base: options.Model = TINY,
    validation: options.Validation = None,
    languages: options.Languages = None,
    pivot: options.Pivot = "en",
    max_length: options.MaxLength = 128,
    assignments: options.Assignments = None,
    as_json: options.Json = False,
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
        console.print(
            f"tokens: as {base} cuts sentences into them{'' if base != TINY else OTHER_BASE}",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        batch, pairs = TrainingConfig().batch_size, split.health.train_pairs
        if pairs < batch:
            console.print(
                f"warning: there are {pairs} pairs to train on; a search takes {batch} a step, "
                f"unless training.batch_size says less, and refuses fewer than a step takes",
                soft_wrap=True,
                style="yellow",
            )
        if as_json:
            typer.echo(json.dumps(split.health.plain()))


if __name__ == "__main__":
    app()
