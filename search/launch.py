"""A search from its space to its end: what the command and the Python API share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from search.runs.console import AT_FAULT, NONE_FINISHED, print_fault, redirect_library_output
from search.runs.stopping import Stop, StopError, StopRequest
from search.settings.problems import InputError
from search.space.source import Assignment, Source, read

if TYPE_CHECKING:
    from rich.console import Console

    from search.cluster.size import LanePlan
    from search.events.types import TrialStarted
    from search.runs.folder import Run
    from search.runs.prepare import Prepared
    from search.runs.record import RunRecord


def new_search(
    console: Console,
    space: Path,
    assignments: Sequence[str | Assignment],
    output: Path,
    name: str | None,
) -> tuple[Source, Path]:
    """Read the space of a new search and choose its run folder; nothing is written.

    Raises:
        InputError: the space file, an assignment or the name is at fault.
    """
    from search.runs.folder import choose_run_folder
    from search.runs.resume import resume_command, unfinished_alike

    source = read(space, assignments)
    folder = choose_run_folder(output, name, space.stem)
    alike = None if name else unfinished_alike(folder.parent, source.tree)
    if alike is not None:
        note = f"note: a new search begins; {alike.name} is unfinished, to go on with it: "
        console.print(note + resume_command(alike), markup=False, soft_wrap=True)
    return source, folder


def check_search(
    source: Source, folder: Path, address: str | None
) -> tuple[Prepared, LanePlan | None]:
    """Do everything that a search does before Ray starts; a dry run does no less.

    Args:
        folder: of the run, which need not be there.

    Returns:
        What the search starts from, and its lanes; None for these where a cluster is to be joined.

    Raises:
        InputError: with every fault found.
    """
    from search.cluster.connection import refuse_unreachable
    from search.cluster.resources import local_node, plan_lanes
    from search.runs.prepare import placing, prepare_space
    from search.runs.retention import checkpoints_of
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
        checkpoints_of(folder, config.search.checkpoints)
    prepared = prepare_space(space, config)
    _ = prepared.features  # planned from every option: what fails there must fail before Ray
    return prepared, plan


def run_search(
    console: Console,
    source: Source,
    folder: Path,
    record: RunRecord | None,
    address: str | None,
    request: StopRequest,
    more: Sequence[TrialStarted] = (),
    *,
    verbose: bool = False,
) -> int:
    """Check a search, run its trials and make the best one a model.

    Args:
        record: of the run to go on with; None for a new one.
        request: asked between steps whether to end.
        more: trials to train that go on from others.
        verbose: print a line an epoch.

    Returns:
        The exit status.

    Raises:
        InputError: the space, the data, the model or the resources are at fault.
    """
    from search.events.journal import read_journal
    from search.events.outcomes import Outcomes
    from search.report.terminal import showing_phases
    from search.runs.extension import extend
    from search.runs.finish import choose_best, finish_in_order
    from search.runs.folder import open_run
    from search.runs.resume import JOURNAL, refuse_other_data, resume_command

    with showing_phases(console, "reading the space and the base"):
        prepared, plan = check_search(source, folder, address)
    if record is not None:
        refuse_other_data(record, prepared)
    fault: InputError | OSError | None = None
    opened = False
    try:
        with open_run(console, folder, prepared, record) as run, suppress(StopError):
            opened = True
            if more:
                run = extend(run, more)
            if run.is_complete(prepared.trials, prepared.config.search):
                console.print(f"nothing is left to do of {prepared.trials} trials (--trials)")
            else:
                _train(console, prepared, plan, folder, run, address, request, verbose)
            if request.stop is None:
                choose_best(folder, prepared, run)
    except (InputError, OSError) as error:
        if not opened:  # nothing has been trained
            raise
        fault = error
    stop = request.stop
    if fault is not None:
        if not (folder / JOURNAL).exists():  # no trial had begun, or somebody has removed it
            print_fault(_explain_absence(folder, fault))
            return NONE_FINISHED if isinstance(fault, OSError) else AT_FAULT
        print_fault(fault)
        began = bool(Outcomes(read_journal(folder / JOURNAL)).ended())
        status = NONE_FINISHED if began or isinstance(fault, OSError) else AT_FAULT
        stop = Stop("the search ended by this error", status)
    try:
        return finish_in_order(console, folder, prepared, request, stop)
    except StopError as error:
        print_fault(
            InputError(
                f"{error.stop.reason} before best/ was made; to go on: {resume_command(folder)}"
            )
        )
        return error.stop.status or NONE_FINISHED


def _explain_absence(folder: Path, fault: InputError | OSError) -> InputError | OSError:
    """Say why a search ended whose run folder is not there."""
    if not isinstance(fault, FileNotFoundError):
        return fault
    if fault.filename is None:  # the system knows no file of a working directory that is gone
        return InputError("the working directory was removed while the search ran")
    if not Path(fault.filename).is_relative_to(folder):
        return fault
    return InputError(
        f"the run folder {folder} was removed while the search ran; "
        f"what it held is lost, and a new search must be started"
    )


def _train(
    console: Console,
    prepared: Prepared,
    plan: LanePlan | None,
    folder: Path,
    run: Run,
    address: str | None,
    request: StopRequest,
    verbose: bool,
) -> None:
    """Run the trials on a cluster that is started, or joined, for as long as that takes."""
    from search.cluster.autoscaler import growth, requested
    from search.cluster.connection import cluster, machines_there
    from search.cluster.resources import local_node, plan_lanes
    from search.cluster.tuner import run_trials
    from search.report.terminal import View

    config, here = prepared.config, local_node()

    def stopping() -> str:
        return request.stop.reason if request.stop else ""

    finals = config.search.finals
    view = View(
        console,
        folder.name,
        prepared.trials + run.trained_on,
        config.search.scheduler,
        stopping,
        (finals.count, finals.seeds),
        request.left,
        verbose,
    )
    with (
        view,
        redirect_library_output(folder),
        # Lanes may write to it until Ray has ended; on a cluster that stays, a moment longer.
        TemporaryDirectory(prefix="isogloss-", ignore_cleanup_errors=True) as scratch,
        cluster(address, int(here.cpus), int(here.gpus)) as dashboard,
    ):
        grown = growth(view.status, request.asked) if plan is None else []
        if request.stop is not None:
            raise StopError(request.stop)
        if plan is None:
            with prepared.placing():
                clusters = [machines_there(), *([grown] if grown else [])]
                plan = plan_lanes(config.lane, config.search, clusters)
        view.running(dashboard, str(plan), plan.lanes)
        with requested(plan) if grown else nullcontext():
            run_trials(
                prepared,
                plan,
                name=folder.name,
                folder=folder,
                scratch=Path(scratch),
                run=run,
                view=view,
                request=request,
                own=address is None,
                growing=bool(grown),
            )
