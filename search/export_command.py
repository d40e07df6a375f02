"""The command ``isogloss export`` (``python -m search.export``): a trial as a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from search.runs import options
from search.runs.console import (
    NONE_FINISHED,
    exit_on_input_error,
    make_app,
    make_console,
    print_fault,
    redirect_library_output,
)
from search.settings.problems import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from search.events.outcomes import Outcome
    from search.export import Form

EXAMPLES = """
isogloss export runs/NAME --to model
isogloss export runs/NAME --trial 7 --to small --adapters peft --truncate-dim 256
"""

app = make_app()


@app.command(epilog=options.examples(EXAMPLES))
def main(
    run: Annotated[
        Path, typer.Argument(help="Run folder; its search may have ended, or still run.")
    ],
    to: Annotated[Path, typer.Option(help="Folder to write, which must be new or empty.")],
    trial: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of the trial, as the search trained it.",
            show_default="the best model",
        ),
    ] = None,
    adapters: Annotated[
        Literal["merged", "peft"],
        typer.Option(
            help="merged: a whole model. peft: only what was trained, beside the base's name."
        ),
    ] = "merged",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="Of the base's weights; auto: as base.save_dtype says."),
    ] = "auto",
    truncate_dim: Annotated[
        int | None,
        typer.Option(min=1, help="Keep so many dimensions, the first.", show_default="all"),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Also upload it to this repository of the hub."),
    ] = None,
) -> None:
    """Write a trial as a model that sentence-transformers loads, and hold it to its score.

    Exit status: 0 written; 1 what was written does not score as the trial did; 2 an option, the
    run, its data or its base are at fault; 130 interrupted.
    """
    with exit_on_input_error():
        raise typer.Exit(_export(run, to, trial, adapters, dtype, truncate_dim, push))


def _export(
    run: Path,
    to: Path,
    trial: int | None,
    adapters: Literal["merged", "peft"],
    dtype: str,
    truncate_dim: int | None,
    repo: str | None,
) -> int:
    # Imported here: they take seconds, and --help and a misspelt option need none of them.
    import torch
    from safetensors import SafetensorError

    from search.events.journal import read_journal
    from search.events.outcomes import Outcomes
    from search.export import ExportError, Form, trusted
    from search.export.push import push, refuse_unreachable_repo
    from search.report.words import label
    from search.runs.exporting import choose_trial, export_trial
    from search.runs.prepare import load_parts
    from search.runs.record import data_differences, read_record, version_differences
    from search.runs.resume import JOURNAL, recorded_source
    from search.runs.retention import checkpoints_of
    from search.space.file import space_of

    console = make_console()
    folder, to = run.resolve(), to.resolve()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"--to is {str(to)!r}, which is there already; it must be new or empty")
    if repo is not None:
        refuse_unreachable_repo(repo)
    record = read_record(folder)
    outcomes = Outcomes(read_journal(folder / JOURNAL))
    outcome, trained = choose_trial(checkpoints_of(folder, record.checkpoints), outcomes, trial)
    form = Form(adapters, None if dtype == "auto" else getattr(torch, dtype), truncate_dim)
    state = outcome.state or "unfinished"
    seed = " trained anew with another seed" if outcome.repeat else ""
    if outcome.averaged:
        seed = f", the average of {len(outcome.averaged)} runs with other seeds"
    console.print(
        f"trial {outcome.trial}{seed}, {state} at epoch {outcome.epochs}, accuracy "
        f"{outcome.accuracy:.3f}: {label(outcome)}",
        markup=False,
        soft_wrap=True,
    )
    for problem in version_differences(record):
        note = f"note: {problem.key} {problem.message.partition(';')[0]}"
        console.print(note, markup=False, soft_wrap=True)
    for note in _notes(outcome, form, repo):
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    fault: ExportError | None = None
    with redirect_library_output(folder):
        space, config = space_of(recorded_source(record))
        _, split = load_parts(space, config)
        if problems := list(data_differences(record, split)):
            raise InputError(problems)
        try:
            scores = export_trial(split, config.data, outcomes, outcome, trained, to, form)
        except (ValueError, SafetensorError) as error:
            raise InputError(str(error)) from error
        except ExportError as error:
            fault = error
    if fault is not None:
        print_fault(InputError(str(fault)))
        return NONE_FINISHED
    trust = ", trust_remote_code=True" if trusted(to) else ""
    console.print(
        f'model, of accuracy {scores.accuracy:.3f}: SentenceTransformer("{to}"{trust})',
        markup=False,
        soft_wrap=True,
    )
    if repo is not None:
        address = push(to, repo, f"Trial {outcome.trial} of {folder.name}, made by Isogloss")
        console.print(f"pushed: {address}", markup=False, soft_wrap=True)
    return 0


def _notes(outcome: Outcome, form: Form, repo: str | None) -> Iterator[str]:
    """What the user should know of a model in this form.

    Raises:
        InputError: the model would name a folder of this machine on the hub.
    """
    from search.export.reference import base_reference
    from search.settings.trial import TrialConfig

    config = TrialConfig.model_validate(outcome.values)
    widths = config.training.matryoshka or []
    if form.truncate_dim is not None and form.truncate_dim not in widths:
        trained = f"only {', '.join(map(str, widths))} were" if widths else "none were"
        yield (
            f"the first {form.truncate_dim} dimensions were not trained to be an embedding "
            f"({trained}: training.matryoshka)"
        )
    if form.adapters == "peft" and not config.adapter.trains_base:
        try:
            reference = base_reference(config.base)
        except ValueError as error:
            raise InputError(str(error)) from error
        is_folder = Path(reference).is_dir()
        if repo is not None and is_folder:
            raise InputError(
                f"--adapters is 'peft' beside --push, but the base is a folder of this machine, "
                f"{reference}; it must be 'merged', or the base a model on the hub"
            )
        yield f"the model names its base, {reference}, which must be there wherever it is loaded"
        if config.base.revision is not None:
            yield f"it loads the base's newest revision, not {config.base.revision}"


if __name__ == "__main__":
    app()
