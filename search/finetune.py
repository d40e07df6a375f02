"""The command ``isogloss finetune`` (``python -m search.finetune``): one model, no search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from search.runs import options
from search.runs.console import exit_on_input_error, make_app, make_console
from search.runs.single import train_one
from search.runs.stopping import StopRequest
from search.settings.problems import InputError, Problem, shown
from search.space.source import Assignment, Source, assign

# Of the built-in corpus, which is as long as one likes; of sentences of one's own, all are used.
BUILTIN_PAIRS_PER_EPOCH = 2048
# The settings of a search that one model has a use for.
EFFECTIVE = (
    "search.scheduler.max_epochs",
    "search.scheduler.grace_epochs",
    "search.checkpoints",
    "search.tensorboard",
)

EXAMPLES = """
isogloss finetune --epochs 1
isogloss finetune --base DIR --train sentences.tsv --pooling attention --mlp-head --mlp-hidden 1024
isogloss finetune --adapter lora --set adapter.rank=8 --set optimizer.schedule=cosine
isogloss finetune --from runs/NAME --train more.tsv --epochs 20 --workers 4
"""

app = make_app()


@app.command(epilog=options.examples(EXAMPLES))
def main(
    context: typer.Context,
    run: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Run folder of a search, to train one of its trials anew; --train, --epochs, "
            "--set and the like change what was there.",
        ),
    ] = None,
    trial: Annotated[
        int | None, typer.Option(min=0, help="With --from: its number.", show_default="the best")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that train it together, with a GPU each if any.")
    ] = 1,
    base: options.Base = "builtin:tiny",
    train: options.Train = "builtin:cldr",
    validation: options.Validation = None,
    languages: options.Languages = None,
    pivot: options.Pivot = "en",
    pooling: Annotated[str, typer.Option(help="Kind of pooling.")] = "mean",
    head: Annotated[str | None, typer.Option(help="Kind of head.", show_default="linear")] = None,
    mlp_head: Annotated[bool, typer.Option("--mlp-head", help="As --head mlp.")] = False,
    mlp_hidden: Annotated[
        int | None, typer.Option(help="Width of that head's hidden layer.", show_default="2048")
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Dimensions of the embedding.", show_default="768")
    ] = None,
    adapter: Annotated[str, typer.Option(help="Kind of adapter.")] = "none",
    loss: Annotated[str, typer.Option(help="Kind of loss.")] = "info_nce",
    negatives: Annotated[str, typer.Option(help="Kind of negatives.")] = "none",
    epochs: options.Epochs = 3,
    batch_size: Annotated[
        int | None, typer.Option(help="Pairs a step.", show_default="64, or 32 or 16 for few pairs")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", show_default="1e-3")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, data and dropout.")] = 0,
    assignments: options.Assignments = None,
    output: options.Output = Path("runs"),
    name: options.Name = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train one cross-lingual sentence embedder, as a search would train one of its trials.

    Exit status: 0 best/ is there; 1 the training failed; 2 the settings, data or model are at
    fault; 130 interrupted, 143 ended by SIGTERM, 129 by SIGHUP.
    """
    with exit_on_input_error():
        console = make_console(quiet=quiet, verbose=verbose)
        if mlp_head and head not in (None, "mlp"):
            raise InputError(f"--mlp-head is given beside --head {head}; it must be left out")
        if mlp_hidden is not None and not mlp_head and head != "mlp":
            raise InputError(
                f"--mlp-hidden is {mlp_hidden}, but the head has no hidden layer of that kind; "
                f"--mlp-head must be given too"
            )
        _refuse_idle(assignments or [])
        kinds: dict[str, tuple[str, object]] = {
            "pooling": ("pooling.kind", pooling),
            "mlp-head" if mlp_head else "head": ("head.kind", "mlp" if mlp_head else head),
            "mlp-hidden": ("head.hidden", mlp_hidden),
            "width": ("head.width", width),
            "adapter": ("adapter.kind", adapter),
            "loss": ("loss.kind", loss),
            "negatives": ("negatives.kind", negatives),
            "pivot": ("data.pivot", pivot),
            "batch-size": ("training.batch_size", batch_size),
            "lr": ("optimizer.lr", lr),
            "seed": ("training.seed", seed),
        }
        shared: dict[str, str | int | None] = {
            "base": base, "train": train, "validation": validation, "languages": languages,
            "epochs": epochs,
        }  # fmt: skip
        if trial is not None and run is None:
            raise InputError(f"--trial is {trial}, but no run is given; --from must be, too")
        source = Source({}, {})
        if run is not None:
            typed = options.typed(context)
            kinds = {flag: one for flag, one in kinds.items() if flag.replace("-", "_") in typed}
            shared = {option: value for option, value in shared.items() if option in typed}
        given = [
            Assignment(key, value, f"--{flag} {shown(value)}")
            for flag, (key, value) in kinds.items()
            if value is not None
        ]
        given += options.assignments(**shared)
        from search.runs.folder import choose_run_folder

        folder = choose_run_folder(output.resolve(), name, "finetune")
        if run is not None:
            from search.runs.earlier_trial import trial_source

            given, source = trial_source(run.resolve(), trial, given, typed)
            note = next(iter(source.places.values()))[0]
            console.print(f"training {note} anew", markup=False, soft_wrap=True)
        else:
            given.append(Assignment("search.trials", 1, ""))
            given.append(Assignment("search.scheduler.kind", "none", ""))
            given.append(Assignment("search.finalists", None, ""))
            if train == "builtin:cldr":
                given.append(Assignment("training.pairs_per_epoch", BUILTIN_PAIRS_PER_EPOCH, ""))
        assign(source, [*given, *(assignments or [])])
        chosen = source.tree.get("head")
        if isinstance(chosen, dict) and not {"kind", "choice"} & chosen.keys():
            assign(source, [Assignment("head.kind", "linear", "")])
        if workers > 1:
            assign(source, [Assignment("lane.workers", workers, f"--workers {workers}")])
            status = _finetune_on_ray(console, source, folder, verbose)
        else:
            status = train_one(console, source, folder, verbose)
        if as_json:
            options.print_summary(folder, status)
        raise typer.Exit(status)


def _refuse_idle(assignments: Sequence[str]) -> None:
    """Refuse what only a search has a use for.

    Raises:
        InputError: with every such assignment.
    """
    problems = [
        Problem(
            f"--set {shown(assignment)}", 0, key,
            "has no effect here, where one model is trained in this process; it must be left out "
            f"(of 'search' and 'lane', only {', '.join(EFFECTIVE)} count here)",
        )
        for assignment in assignments
        for key in [assignment.partition("=")[0]]
        if key.split(".")[0] in ("search", "lane") and key not in EFFECTIVE
    ]  # fmt: skip
    if problems:
        raise InputError(problems)


def _finetune_on_ray(console: Console, source: Source, folder: Path, verbose: bool) -> int:
    """Train the model as the one trial of a search, whose lane has several workers."""
    from search.launch import run_search

    request = StopRequest()
    with request.on_signals():
        return run_search(console, source, folder, None, None, request, verbose=verbose)


if __name__ == "__main__":
    app()
