"""The command ``isogloss finetune`` (``python -m search.finetune``): one model, no search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.runs import options
from search.runs.console import (
    exit_on_input_error,
    explain_os_error,
    make_app,
    make_console,
    redirect_library_output,
)
from search.runs.stopping import StopError, StopRequest
from search.settings.problems import InputError, Problem, shown
from search.space.source import Assignment, Source, assign

if TYPE_CHECKING:
    from rich.console import Console

    from search.events.journal import Journal
    from search.runs.prepare import Prepared

# Of the built-in corpus, which is as long as one likes; of sentences of one's own, all are used.
BUILTIN_PAIRS_PER_EPOCH = 2048
# A default batch is made smaller where there are few pairs, but fewer than these are refused.
LEAST_BATCH = 16
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
) -> None:
    """Train one cross-lingual sentence embedder, as a search would train one of its trials.

    Exit status: 0 best/ is there; 1 the training failed; 2 the settings, data or model are at
    fault; 130 interrupted, 143 ended by SIGTERM, 129 by SIGHUP.
    """
    with exit_on_input_error():
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
            from search.runs.winner import trial_source

            given, source = trial_source(run.resolve(), trial, given, typed)
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
            status = _finetune_on_ray(source, folder)
        else:
            status = _finetune(source, folder)
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


def _finetune_on_ray(source: Source, folder: Path) -> int:
    """Train the model as the one trial of a search, whose lane has several workers."""
    from search.launch import run_search

    request = StopRequest()
    with request.on_signals():
        return run_search(make_console(), source, folder, None, None, request)


def _finetune(source: Source, folder: Path) -> int:
    # Imported here: they take seconds, and --help and a misspelt option need none of them.
    from search.runs.finish import finish_run
    from search.runs.folder import open_run
    from search.runs.prepare import check_space, load_parts
    from search.space.file import space_of

    console = make_console()
    space, config = space_of(source)
    domains = space.domains()
    if domains:
        raise InputError(
            [
                source.problem(
                    (name,), "is a domain; with one model to train, it must be one value"
                )
                for name in domains
            ]
        )
    skeleton, split = load_parts(space, config)
    if "batch_size" not in source.tree.get("training", {}):
        size = _fitting(config.training.batch_size, split.health.train_pairs)
        if size < config.training.batch_size:
            console.print(
                f"note: a step takes {size} pairs instead of {config.training.batch_size} "
                f"(--batch-size), since there are {split.health.train_pairs} to train on"
            )
        assign(source, [Assignment("training.batch_size", size, "--batch-size")])
        space, config = space_of(source)
    prepared = check_space(space, config, skeleton, split)
    request = StopRequest()
    with request.on_signals():
        with open_run(console, folder, prepared) as run, suppress(StopError):
            _train(console, folder, prepared, run.journal)
        return finish_run(console, folder, prepared, request.stop)


def _fitting(size: int, pairs: int) -> int:
    """A batch of a default size, halved until the pairs fill one, but not below the least."""
    fitting = size
    while fitting > pairs and fitting // 2 >= LEAST_BATCH:
        fitting //= 2
    return fitting if fitting <= pairs else size


def _train(console: Console, folder: Path, prepared: Prepared, journal: Journal) -> None:
    """Train, tell, and keep the last checkpoint."""
    import torch

    from search.events.types import ModelScored, State, TrialEnded, TrialStarted
    from search.runs.retention import checkpoints_of
    from search.settings.trial import TrialConfig
    from search.training.loop import TrialError
    from search.training.session import Session

    split = prepared.split
    trial = TrialConfig.of(prepared.config.model_dump())
    epochs = prepared.config.search.scheduler.max_epochs
    checkpoints = checkpoints_of(folder, prepared.config.search.checkpoints)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with redirect_library_output(folder):
        session = Session(
            prepared.session,
            split.train,
            split.validation,
            split.train_text,
            device,
            test=split.test,
        )
    for note in session.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    journal.append(TrialStarted(trial=0, reference=False, values=trial.plain()))
    began = time.time()
    state: State = "failed"
    error = ""
    try:
        with redirect_library_output(folder):
            untouched = session.score_untouched()
        journal.append(untouched)
        console.print(f"the base without training: accuracy {untouched.accuracy:.3f}")
        reports = session.train(trial)
        while True:
            with redirect_library_output(folder):
                report = next(reports, None)
            if report is None:
                break
            done = report.event(0, began)
            checkpoints.write(0, done.epoch, report.pieces(done, last=done.epoch == epochs))
            journal.append(done)
            worst = min(report.scores.by_language.items(), key=lambda item: item[1])
            console.print(
                f"epoch {report.epoch} of {epochs}: loss {report.loss:.3f}, accuracy "
                f"{report.scores.accuracy:.3f} (worst: {worst[0]} {worst[1]:.3f}), "
                f"{report.seconds:.0f} s"
            )
        if split.test is not None:  # for the model card, beside the model's own
            with redirect_library_output(folder):
                validation, test = session.score(None, None)
            journal.append(ModelScored(trial=None, validation=validation, test=test))
        state = "finished"
    except (TrialError, ValueError, OSError) as fault:
        error = explain_os_error(fault) if isinstance(fault, OSError) else str(fault)
        console.print(f"the training failed: {error}", markup=False, style="red")
    finally:
        if state == "finished" or error:
            journal.append(TrialEnded(trial=0, state=state, error=error))


if __name__ == "__main__":
    app()
