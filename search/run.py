"""The command: ``python -m search.run SPACE``."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from search.runs.console import (
    AT_FAULT,
    FINISHED,
    exit_on_input_error,
    make_console,
    print_fault,
    redirect_library_output,
)
from search.runs.finish import finish_run
from search.runs.folder import choose_run_folder, open_run
from search.runs.record import RunRecord, read_record
from search.runs.resume import (
    refuse_beside_resume,
    refuse_other_data,
    resume_command,
    resumed_source,
    unfinished_alike,
)
from search.runs.stopping import Stop, StopError, StopRequest, parse_duration
from search.settings.problems import InputError
from search.space.source import Source, read

if TYPE_CHECKING:
    from search.cluster.resources import LanePlan
    from search.runs.folder import Run
    from search.runs.prepare import Prepared

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    space: Annotated[
        Path | None,
        typer.Argument(help="Space file; not needed with --resume.", show_default=False),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the space file."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder that run folders are made in.")] = Path(
        "runs"
    ),
    name: Annotated[
        str | None, typer.Option(help="Name of the run folder.", show_default="space and time")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="As search.trials.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="As search.concurrency.")] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to join ('auto', HOST:PORT); without it, one is started."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Run folder of a search to go on with; --trials counts its trials too."),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(help="Time for all of it, such as 90s, 3m or 1h30m; best/ is made in it."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print sampled configs and start nothing.")
    ] = False,
) -> None:
    """Search for the best cross-lingual sentence embedder in a space.

    Exit status: 0 a trial finished and best/ is there; 1 none finished; 2 the space, data, model
    or resources are at fault; 130 interrupted, 143 ended by SIGTERM, 129 by SIGHUP. However it
    ends, the trials so far are in leaderboard.csv and, if one has finished, the best one in best/.
    """
    changes = list(assignments or [])
    changes += [f"search.trials={trials}"] if trials is not None else []
    changes += [f"search.concurrency={concurrency}"] if concurrency is not None else []
    # Ray's workers change directory: every path is made absolute before it starts.
    start = Path.cwd()
    with exit_on_input_error():
        seconds = None if timeout is None else parse_duration(timeout, "--timeout")
        request = StopRequest(seconds)
        record = None if resume is None else read_record((start / resume).resolve())
        if record is not None:
            refuse_beside_resume(name, dry_run)
            source = resumed_source(record, space and start / space, changes)
            folder = record.folder
        elif space is None:
            raise InputError("no space file is given; it must be, or --resume with a run folder")
        else:
            source = read(start / space, changes)
            folder = choose_run_folder((start / output).resolve(), name, space.stem)
            alike = None if name or dry_run else unfinished_alike(folder.parent, source.tree)
            if alike is not None:
                note = f"note: a new search begins; {alike.name} is unfinished, to go on with it: "
                make_console().print(note + resume_command(alike), markup=False, soft_wrap=True)
        if dry_run:
            status = _dry_run(source, address)
        else:
            with request.on_signals():
                status = _search(source, folder, record, address, request)
        raise typer.Exit(status)


def _check(source: Source, address: str | None) -> tuple[Prepared, LanePlan | None]:
    """Do everything that a search does before Ray starts; a dry run does no less.

    Returns:
        What the search starts from, and its lanes; None for these where a cluster is to be joined.

    Raises:
        InputError: with every fault found.
    """
    # Imported here: they take seconds, and --help and a misspelt option need none of them.
    from search.cluster.connection import refuse_unreachable
    from search.cluster.resources import local_node, plan_lanes
    from search.runs.prepare import placing, prepare_space
    from search.space.file import space_of

    if address is not None and address.startswith("ray://"):
        raise InputError(
            f"--address is {address!r}, a Ray Client; it must be 'auto' or HOST:PORT, and the "
            f"command must run on a node of that cluster"
        )
    if address is not None:
        refuse_unreachable(address)
    space, config = space_of(source)
    with placing(space):  # first: whether lanes fit does not depend on what is checked next
        nodes = [[local_node()]]
        plan = plan_lanes(config.lane, config.search, nodes) if address is None else None
    prepared = prepare_space(space, config)
    _ = prepared.features  # planned from every option: what fails there must fail before Ray
    return prepared, plan


def _search(
    source: Source,
    folder: Path,
    record: RunRecord | None,
    address: str | None,
    request: StopRequest,
) -> int:
    console = make_console()
    prepared, plan = _check(source, address)
    if record is not None:
        refuse_other_data(record, prepared)
    fault: InputError | OSError | None = None
    opened = False
    try:
        with open_run(console, folder, prepared, record) as run, suppress(StopError):
            opened = True
            if run.is_complete(prepared.trials):
                console.print(f"nothing is left to do of {prepared.trials} trials (--trials)")
            else:
                _train(console, prepared, plan, folder, run, address, request)
    except (InputError, OSError) as error:
        if not opened or not folder.exists():  # nothing has been trained
            raise
        fault = error
    stop = request.stop
    if fault is not None:
        print_fault(fault)
        stop = Stop("the search ended by this error", AT_FAULT)
    return finish_run(console, folder, prepared, stop)


def _train(
    console: Console,
    prepared: Prepared,
    plan: LanePlan | None,
    folder: Path,
    run: Run,
    address: str | None,
    request: StopRequest,
) -> None:
    """Run the trials on a cluster that is started, or joined, for as long as that takes."""
    from search.cluster.autoscaler import growth, requested
    from search.cluster.connection import cluster, machines_there
    from search.cluster.resources import local_node, plan_lanes
    from search.cluster.tuner import run_trials
    from search.report.terminal import View

    config, here = prepared.config, local_node()
    view = View(console, folder.name, prepared.trials)
    with (
        view,
        redirect_library_output(folder),
        cluster(address, int(here.cpus), int(here.gpus)) as dashboard,
    ):
        grown = growth() if plan is None else []
        if plan is None:
            with prepared.placing():
                clusters = [machines_there(), *([grown] if grown else [])]
                plan = plan_lanes(config.lane, config.search, clusters)
        view.running(dashboard, str(plan))
        with requested(plan) if grown else nullcontext():
            run_trials(
                prepared,
                plan,
                name=folder.name,
                folder=folder,
                run=run,
                view=view,
                request=request,
                growing=bool(grown),
            )


def _dry_run(source: Source, address: str | None) -> int:
    from search.sampling.draws import draw
    from search.settings.trial import TrialConfig, flatten

    prepared, plan = _check(source, address)
    search = prepared.config.search
    console = Console(highlight=False, soft_wrap=True)
    drawn = draw(prepared.space, search.sampler, prepared.trials, prepared.conflict)
    for number, values in enumerate(drawn):
        parameters = prepared.trainable_parameters(values)
        title = f"trial {number}: {parameters:,} trainable parameters"
        console.print(title + (" (the reference)" if number == 0 else ""), style="bold")
        settings = flatten(TrialConfig.of(values).plain())
        shown = (f"{k}={v}" for k, v in settings.items() if not k.startswith("base."))
        console.print("  " + ", ".join(shown), markup=False)
    sampler = search.sampler
    learns = sampler.learns_from_results and len(drawn) > sampler.startup_trials
    after = (
        f"; past the first {sampler.startup_trials}, the search itself draws by the results "
        f"it has seen"
    )
    console.print(f"{len(drawn)} configs{after if learns else ''}")
    if plan is not None:
        console.print(f"on this machine: {plan}", markup=False)
    cache_note = prepared.features.note(prepared.config.cache)
    notes = (*prepared.skeleton.notes, prepared.too_few, prepared.repeats, cache_note)
    for note in filter(None, notes):
        console.print(note, markup=False)
    return FINISHED


if __name__ == "__main__":
    app()
