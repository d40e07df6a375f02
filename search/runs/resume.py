"""Go on with a run: its folder is checked and made ready."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from search.events.journal import read_journal
from search.events.outcomes import Outcome, Outcomes
from search.events.types import EVENTS, EpochDone, Event
from search.runs.record import (
    RECORD,
    RunRecord,
    data_differences,
    program,
    read_record,
    space_differences,
    version_differences,
)
from search.runtime.checkpoints import Checkpoints
from search.runtime.sealing import DamagedError
from search.settings.problems import InputError, Problem
from search.space.source import Assignment, Source, assign, read

if TYPE_CHECKING:
    from search.runs.prepare import Prepared

JOURNAL = "journal.jsonl"
MOST_LOOKED_AT = 20  # run folders, of those in a folder


@dataclass(frozen=True)
class Past:
    """What the earlier commands of a run have done.

    Attributes:
        events: of the journal.
        standing: trial and repeat of an unfinished run -> epochs that need not be trained again.
        notes: what the user should know of how the run goes on.
    """

    events: tuple[Event, ...] = ()
    standing: dict[tuple[int, int], int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def resume_command(folder: Path) -> str:
    """What to type to go on with a run."""
    return shlex.join([*program("search.run"), "--resume", str(folder)])


def describe_run(folder: Path) -> str:
    """What a run folder holds, and how to go on with it; empty where it is not one of a search."""
    try:
        record = read_record(folder)
        outcomes = Outcomes(read_journal(folder / JOURNAL))
    except (InputError, OSError):
        return ""
    ended = len(outcomes.by_trial) - outcomes.count(None)
    if ended >= record.trials and outcomes.decided is not None:
        return (
            f"it holds a search that has ended, with {ended} trials; for more of them: "
            f"{resume_command(folder)} --trials NUMBER"
        )
    return (
        f"it holds a search of which {ended} of {record.trials} trials have ended; to go on: "
        f"{resume_command(folder)}"
    )


def unfinished_alike(output: Path, tree: Mapping[str, object]) -> Path | None:
    """The newest run folder with an unfinished search of the same space; None where there is none.

    Args:
        output: folder of run folders.
        tree: of the space.
    """
    records = sorted(output.glob(f"*/{RECORD}"), key=lambda file: file.stat().st_mtime)
    for file in records[: -MOST_LOOKED_AT - 1 : -1]:
        try:
            record = read_record(file.parent)
            outcomes = Outcomes(read_journal(file.parent / JOURNAL))
        except (InputError, OSError):
            continue
        ended = len(outcomes.by_trial) - outcomes.count(None)
        if record.space == tree and ended < record.trials:
            return file.parent
    return None


def refuse_beside_resume(name: str | None, dry_run: bool) -> None:
    """Refuse options that a run which goes on has no use for.

    Raises:
        InputError: with each of them.
    """
    given = {"--name": name is not None, "--dry-run": dry_run}
    problems = [
        Problem("", 0, option, "is given beside --resume; one of them must be left out")
        for option, is_given in given.items()
        if is_given
    ]
    if problems:
        raise InputError(problems)


def resumed_source(
    record: RunRecord, space_file: Path | None, assignments: Sequence[str | Assignment]
) -> Source:
    """The space that a run goes on with: its own, or a file that says the same.

    Relative paths count from where they did when the run began.

    Args:
        assignments: ``key=value``; only how much is done, and on what, may be other than it was.

    Raises:
        InputError: with every difference from the run, in the space or the versions.
    """
    if space_file is not None:
        space_file = space_file.absolute()
        record.enter_directory()
        source = read(space_file, assignments)
    else:
        source = recorded_source(record)
        assign(source, assignments)
    problems = [*space_differences(record, source.tree), *version_differences(record)]
    if problems:
        raise InputError(problems)
    return source


def recorded_source(record: RunRecord) -> Source:
    """The space of a run; relative paths count from where they did when it began."""
    record.enter_directory()
    return Source(deepcopy(record.space), {(): (str(record.folder / RECORD), 0)})


def refuse_other_data(record: RunRecord, prepared: Prepared) -> None:
    """Refuse to go on with a run whose sentences have changed.

    Raises:
        InputError: with each part of them that has.
    """
    if problems := list(data_differences(record, prepared.split)):
        raise InputError(problems)


def take_up(folder: Path, checkpoints: Checkpoints) -> Past:
    """Read what a run has done, and remove what nobody can use.

    That is: files of which only a part was written, and checkpoints of trials that the journal does
    not know, or that do not fit it. Such trials begin again.

    Raises:
        InputError: the journal is damaged, or of another version.
    """
    for partial in folder.glob("*.new"):
        shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
    kept = checkpoints.runs()
    if not (folder / JOURNAL).exists():
        if kept:
            raise InputError(
                f"the journal {folder / JOURNAL} is not there, though trials have been trained; "
                f"without it nobody knows what they are, and a new search must be started"
            )
        return Past()  # it was lost before it began
    events = tuple(read_journal(folder / JOURNAL))
    outcomes = Outcomes(events)
    if kept and not outcomes.by_trial:
        raise InputError(
            f"the journal {folder / JOURNAL} tells of no trial, though {len(kept)} models are "
            f"kept; it has been cut or replaced, and must be put back (nothing was removed)"
        )
    notes = []
    unknown = [run for run in kept if not outcomes.has_run(*run)]
    for run in unknown:
        checkpoints.remove(*run)
    if unknown:
        listed = ", ".join(dict.fromkeys(str(trial) for trial, _ in unknown))
        notes.append(f"what was kept of trials that the journal does not know is removed: {listed}")
    standing = {}
    for run, outcome in outcomes.runs().items():
        if outcome.state is not None:
            continue
        checkpoints.remove_partial(*run)
        parent = outcome.parent
        first = 0 if parent is None else outcomes.run(parent, run[1]).epochs
        standing[run], fault = _standing(checkpoints, outcome, first)
        if fault:
            seed = " with another seed" if run[1] else ""
            notes.append(f"trial {run[0]}{seed} begins again: {fault}")
            checkpoints.remove(*run)
    trials = {number: epoch for (number, repeat), epoch in standing.items() if not repeat}
    ended = len(outcomes.by_trial) - len(trials)
    told = [f"{ended} trial{' has' if ended == 1 else 's have'} ended"]
    told += [
        f"trial {number} goes on after epoch {epoch}" if epoch else f"trial {number} begins again"
        for number, epoch in trials.items()
    ]
    note = "; ".join(told)
    return Past(events, standing, (note, *notes))


def _standing(checkpoints: Checkpoints, outcome: Outcome, first: int) -> tuple[int, str]:
    """Epochs of an unfinished trial that stand, and what is wrong with its checkpoint.

    A checkpoint is written before the journal hears of it, so it may be one epoch ahead; the worker
    then says again what it says of it.

    Args:
        first: epochs of its parent, with which it began.
    """
    epochs = outcome.epochs
    try:
        facts = checkpoints.newest(outcome.trial, outcome.repeat)
        if facts is None:
            return first, "it has no checkpoint" if epochs > first else ""
        report = EVENTS.validate_json(facts["report"])
    except DamagedError as error:
        return first, f"its checkpoint is damaged ({error})"
    except (OSError, ValueError, LookupError) as error:
        return first, f"its checkpoint cannot be read ({error})"
    if not isinstance(report, EpochDone) or report.epoch > epochs + 1:
        done = report.epoch if isinstance(report, EpochDone) else 0
        return first, f"its checkpoint is of epoch {done}, but the journal knows {epochs}"
    return min(report.epoch, epochs), ""
