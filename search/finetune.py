"""The command: ``python -m search.finetune``: one model, no search, no cluster."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.runs.console import (
    exit_on_input_error,
    explain_os_error,
    make_console,
    redirect_library_output,
)
from search.runs.finish import finish_run
from search.runs.folder import choose_run_folder, open_run
from search.runs.stopping import StopError, StopRequest
from search.settings.problems import InputError, Problem, shown
from search.space.source import KeyPath, Source, assign, option_value

if TYPE_CHECKING:
    from rich.console import Console

    from search.events.journal import Journal
    from search.runs.prepare import Prepared

# Of the built-in corpus, which is as long as one likes; of sentences of one's own, all are used.
BUILTIN_PAIRS_PER_EPOCH = 2048
# A default batch is made smaller where there are few pairs, but fewer than these are refused.
LEAST_BATCH = 16
# The settings of a search that one model has a use for.
EFFECTIVE = ("search.scheduler.max_epochs", "search.scheduler.grace_epochs")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
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
    base: Annotated[str, typer.Option(help="Folder or hub name of the model.")] = "builtin:tiny",
    train: Annotated[
        str,
        typer.Option(
            help="Parallel sentences: a file or folder with a column a language, "
            "'{en: a.en, de: a.de}', or a data set of the hub, NAME:CONFIG."
        ),
    ] = "builtin:cldr",
    validation: Annotated[
        str | None, typer.Option(help="Likewise.", show_default="a tenth of --train")
    ] = None,
    languages: Annotated[
        str | None, typer.Option(help="Columns to use, with commas.", show_default="all")
    ] = None,
    pivot: Annotated[str, typer.Option(help="Language the others are scored against.")] = "en",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the sentences.")] = 3,
    batch_size: Annotated[
        int | None, typer.Option(help="Pairs a step.", show_default="64, or 32 or 16 for few pairs")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", show_default="1e-3")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, data and dropout.")] = 0,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting: adapter.rank=8."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder that run folders are made in.")] = Path(
        "runs"
    ),
    name: Annotated[
        str | None, typer.Option(help="Name of the run folder.", show_default="finetune and time")
    ] = None,
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
        if languages == "":
            raise InputError("--languages is ''; it must name columns, with commas between them")
        _refuse_idle(assignments or [])
        source = Source({}, {})
        given: dict[str, tuple[KeyPath, object]] = {
            "pooling": (("pooling", "kind"), pooling),
            "mlp-head" if mlp_head else "head": (("head", "kind"), "mlp" if mlp_head else head),
            "mlp-hidden": (("head", "hidden"), mlp_hidden),
            "width": (("head", "width"), width),
            "adapter": (("adapter", "kind"), adapter),
            "loss": (("loss", "kind"), loss),
            "negatives": (("negatives", "kind"), negatives),
            "base": (("base", "model"), base),
            "train": (("data", "train"), option_value(train, "--train")),
            "validation": (
                ("data", "validation"),
                validation and option_value(validation, "--validation"),
            ),
            "languages": (
                ("data", "languages"),
                languages and option_value(languages, "--languages"),
            ),
            "pivot": (("data", "pivot"), pivot),
            "epochs": (("search", "scheduler", "max_epochs"), epochs),
            "batch-size": (("training", "batch_size"), batch_size),
            "lr": (("optimizer", "lr"), lr),
            "seed": (("training", "seed"), seed),
        }
        for flag, (path, value) in given.items():
            if value is not None:
                _put(source, path, value, f"--{flag} {shown(value)}")
        _put(source, ("search", "trials"), 1)
        _put(source, ("search", "scheduler", "kind"), "none")
        if train == "builtin:cldr":
            _put(source, ("training", "pairs_per_epoch"), BUILTIN_PAIRS_PER_EPOCH)
        assign(source, assignments or [])
        chosen = source.tree.get("head")
        if isinstance(chosen, dict) and not {"kind", "choice"} & chosen.keys():
            _put(source, ("head", "kind"), "linear")
        folder = choose_run_folder(output.resolve(), name, "finetune")
        raise typer.Exit(_finetune(source, folder))


def _refuse_idle(assignments: Sequence[str]) -> None:
    """Refuse what only a search has a use for.

    Raises:
        InputError: with every such assignment.
    """
    problems = [
        Problem(
            f"--set {shown(assignment)}", 0, key,
            "has no effect here, where one model is trained in this process; it must be left out "
            f"(of 'search' and 'lane', only {' and '.join(EFFECTIVE)} count here)",
        )
        for assignment in assignments
        for key in [assignment.partition("=")[0]]
        if key.split(".")[0] in ("search", "lane") and key not in EFFECTIVE
    ]  # fmt: skip
    if problems:
        raise InputError(problems)


def _put(source: Source, path: KeyPath, value: object, place: str = "") -> None:
    """Set a key, as if the option had been a line of a space file."""
    node = source.tree
    for step in path[:-1]:
        node = node.setdefault(str(step), {})
    node[str(path[-1])] = value
    if place:
        for end in range(1, len(path)):
            source.places.setdefault(path[:end], (place, 0))
        source.places[path] = (place, 0)


def _finetune(source: Source, folder: Path) -> int:
    # Imported here: they take seconds, and --help and a misspelt option need none of them.
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
        _put(source, ("training", "batch_size"), size, "--batch-size")
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

    from search.events.types import State, TrialEnded, TrialStarted
    from search.runtime.checkpoint_file import checkpoint_file, write_checkpoint
    from search.settings.trial import TrialConfig
    from search.training.loop import TrialError
    from search.training.session import Session

    split = prepared.split
    trial = TrialConfig.of(prepared.config.model_dump())
    epochs = prepared.config.search.scheduler.max_epochs
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with redirect_library_output(folder):
        session = Session(prepared.session, split.train, split.validation, split.train_text, device)
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
            write_checkpoint(checkpoint_file(folder / "trials", 0), report.sealed(done))
            journal.append(done)
            worst = min(report.scores.by_language.items(), key=lambda item: item[1])
            console.print(
                f"epoch {report.epoch} of {epochs}: loss {report.loss:.3f}, accuracy "
                f"{report.scores.accuracy:.3f} (worst: {worst[0]} {worst[1]:.3f}), "
                f"{report.seconds:.0f} s"
            )
        state = "finished"
    except (TrialError, ValueError, OSError) as fault:
        error = explain_os_error(fault) if isinstance(fault, OSError) else str(fault)
        console.print(f"the training failed: {error}", markup=False, style="red")
    finally:
        if state == "finished" or error:
            journal.append(TrialEnded(trial=0, state=state, error=error))


if __name__ == "__main__":
    app()
