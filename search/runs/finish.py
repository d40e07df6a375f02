"""The end of a run: rank the trials, and export the best one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal

from search.runs.console import (
    FINISHED,
    NONE_FINISHED,
    explain_os_error,
    redirect_library_output,
)
from search.runs.exporting import export_command, export_trial, kept_trials, read_trained
from search.runs.lock import hold
from search.runs.results import LEADERBOARD
from search.runs.resume import JOURNAL, resume_command
from search.runs.retention import checkpoints_of
from search.runs.stopping import Stop, StopRequest
from search.settings.problems import shown

if TYPE_CHECKING:
    from search.events.outcomes import Outcomes
    from search.runs.folder import Run
    from search.runs.prepare import Prepared
    from search.runtime.checkpoints import Checkpoints


def choose_best(folder: Path, prepared: Prepared, run: Run) -> None:
    """Choose the best model of a search that has gone to its end, and note it in the journal.

    Where it goes on with other finalists, or without averages, what was chosen may be another one.
    """
    from search.events.journal import read_journal
    from search.events.outcomes import Outcomes
    from search.finals.decision import decide

    outcomes = Outcomes(read_journal(folder / JOURNAL))
    corpus = prepared.split.train
    families = corpus.family_by_language
    decided = decide(outcomes, prepared.config.search, families)
    if decided is not None and decided != outcomes.decided:
        run.journal.append(decided)


def finish_in_order(
    console: Console, folder: Path, prepared: Prepared, request: StopRequest, stop: Stop | None
) -> int:
    """Finish a run; a signal that comes meanwhile is noted, as best/ is nearly there.

    Args:
        stop: why the run ends early; None where it went to its end.

    Returns:
        The exit status.

    Raises:
        StopError: at a second signal.
    """
    before = request.stop
    with request.polled():
        status = finish_run(console, folder, prepared, stop)
    late = request.stop
    if late is None or late is before or late.status is None:
        return status
    console.print(f"{late.reason}, when the trials had ended", markup=False)
    return late.status


def finish_run(console: Console, folder: Path, prepared: Prepared, stop: Stop | None = None) -> int:
    """Rank the trials and make the best one a model.

    Args:
        stop: why the run ends early; None where it went to its end.

    Returns:
        The exit status.
    """
    from search.events.journal import read_journal
    from search.events.outcomes import Outcomes
    from search.report.page import REPORT
    from search.report.ranking import print_ranking

    if not folder.exists():
        console.quiet = False
        reason = stop.reason if stop else "the search ended"
        console.print(f"{reason} before any trial began; no run folder is kept", markup=False)
        return NONE_FINISHED if stop is None or stop.status is None else stop.status
    outcomes = Outcomes(read_journal(folder / JOURNAL))
    print_ranking(console, outcomes)
    _print_finals(console, outcomes, prepared)
    console.quiet = False
    console.print(f"\nleaderboard: {folder / LEADERBOARD}", markup=False, soft_wrap=True)
    if (folder / REPORT).exists():
        console.print(f"report: {folder / REPORT}", markup=False, soft_wrap=True)
    if stop:
        unfinished = outcomes.count(None)
        left = f"{unfinished} trial{'s' * (unfinished != 1)} unfinished"
        if not unfinished and outcomes.repeats and outcomes.decided is None:
            left = "the final comparison is unfinished"
        console.print(
            f"{stop.reason}: {left}; to go on: {resume_command(folder)}",
            markup=False,
            soft_wrap=True,
        )
    else:
        for note in filter(None, (prepared.ended_early(outcomes.drawn), prepared.repeats)):
            console.print(note, markup=False, soft_wrap=True)
    checkpoints = checkpoints_of(folder, prepared.config.search.checkpoints)
    with hold(folder):
        status = _make_best(console, folder, prepared, outcomes, checkpoints)
    size, kept = checkpoints.size(), len(checkpoints.runs())
    if kept:
        console.print(
            f"checkpoints: {decimal(size)} of {kept} model{'s' * (kept > 1)} in "
            f"{checkpoints.location}",
            markup=False,
            soft_wrap=True,
        )
    return status if stop is None or stop.status is None else stop.status


def _print_finals(console: Console, outcomes: Outcomes, prepared: Prepared) -> None:
    """Print the final comparison, or why there is none."""
    from search.finals.plan import runs_wanted
    from search.finals.words import MEASURED_ON, describe_choice, describe_comparisons
    from search.report.finals import finals_table

    decided = outcomes.decided
    if decided is not None:
        console.print()
        console.print(finals_table(decided))
        lines = [describe_choice(decided), f"on {MEASURED_ON[decided.split]}:"]
        for line in [*lines, *describe_comparisons(decided)]:
            console.print(line, markup=False, soft_wrap=True)
        return
    search = prepared.config.search
    runs = [
        outcomes.repeats.get((finalist.trial, repeat))
        for finalist, repeat in runs_wanted(outcomes, search)
    ]
    wanted = len(runs)
    if wanted and search.trials != 1:
        done = sum(run is not None and run.state is not None for run in runs)
        console.print(
            f"the finalists have not been compared ({done} of {wanted} runs with other seeds): "
            f"best/ is the best of the trials that ended, which is partly luck",
            markup=False,
            soft_wrap=True,
            style="yellow",
        )


def _make_best(
    console: Console,
    folder: Path,
    prepared: Prepared,
    outcomes: Outcomes,
    checkpoints: Checkpoints,
) -> int:
    """Make the best trial a model; the exit status."""
    from safetensors import SafetensorError

    from search.export import ExportError, trusted
    from search.report.terminal import showing_phases
    from search.report.words import label

    if not outcomes.count("finished"):
        console.print("no trial finished, so there is no best/", style="red")
        if kept_trials(checkpoints):
            console.print(
                f"the best so far as a model: {export_command(folder)}",
                markup=False,
                soft_wrap=True,
            )
        return NONE_FINISHED
    first = outcomes.best_run()
    others = (one for one in outcomes.ended() if one is not first)
    for best in filter(None, [first, *others]):
        try:
            trained = read_trained(checkpoints, best)
            break
        except (ValueError, OSError) as error:
            why = explain_os_error(error) if isinstance(error, OSError) else shown(error, 1000)
            if (folder / "best").exists():  # perhaps all that is left of that trial
                console.print(
                    f"best/ stays as it was written before: {why}; a model of another trial: "
                    f"{export_command(folder)} --trial NUMBER",
                    style="yellow", markup=False, soft_wrap=True,
                )  # fmt: skip
                return FINISHED
            console.print(
                f"best/ is of a trial of a lower rank: {why}",
                style="yellow", markup=False, soft_wrap=True,
            )  # fmt: skip
    else:
        console.print("best/ could not be made: no checkpoint can be used", style="red")
        return NONE_FINISHED
    untouched = outcomes.untouched
    if untouched is not None and best.scores.value <= untouched.value:
        console.print(
            f"no trial is better than the base without training ({untouched.value:.3f}); best/ "
            f"is the best trial all the same",
            style="yellow",
        )
    try:
        doing = "writing and checking best/"
        if not console.is_terminal:
            console.print(doing)
        with showing_phases(console, doing), redirect_library_output(folder):
            data = prepared.config.data
            export_trial(prepared.split, data, outcomes, best, trained, folder / "best")
    except (ExportError, ValueError, OSError, SafetensorError) as error:
        why = explain_os_error(error) if isinstance(error, OSError) else shown(error, 1000)
        console.print(f"best/ could not be made: {why}", markup=False, style="red", soft_wrap=True)
        return NONE_FINISHED
    if outcomes.decided is None and len(outcomes.by_trial) > 1:
        console.print(f"best/ is trial {best.trial}, {label(best)}", markup=False, soft_wrap=True)
    trust = ", trust_remote_code=True" if trusted(folder / "best") else ""
    console.print(
        f'best model: SentenceTransformer("{folder / "best"}"{trust})', markup=False, soft_wrap=True
    )
    return FINISHED
