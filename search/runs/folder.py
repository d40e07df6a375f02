"""The folder of a run: its name, what it records, and the leaderboard."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from search.events.outcomes import Outcomes
from search.finals.plan import next_tasks
from search.runs.lock import hold
from search.runs.record import RunRecord, rewrite_record, write_record
from search.runs.results import Results
from search.runs.resume import JOURNAL, Past, describe_run, take_up
from search.runs.retention import checkpoints_of, claim
from search.settings.problems import InputError
from search.settings.sections import SearchSettings

if TYPE_CHECKING:
    from search.events.journal import Journal
    from search.events.types import Event
    from search.runs.prepare import Prepared

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MOST_OF_STEM = 60  # characters of the space file's name


def choose_run_folder(output: Path, name: str | None, stem: str) -> Path:
    """The folder of a run, which must not exist; without a name, its own and the time.

    Raises:
        InputError: the name leaves the output folder, or the folder is in use.
    """
    if os.path.isfile(output):  # and not Path.is_file, which fails where a name is too long
        raise InputError(f"--output is {str(output)!r}, a file; it must be a folder")
    if name is None:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem)[:MOST_OF_STEM].strip("-._") or "search"
        return output / _free_name(output, f"{stem}-{datetime.now():%Y%m%d-%H%M%S}")
    if not NAME.fullmatch(name) or name.endswith(".new"):
        raise InputError(
            f"--name is {name!r}; it must be letters, digits, '.', '_' and '-' only, and start "
            f"with a letter or digit"
        )
    folder = output / name
    if _is_taken(folder):
        there = describe_run(folder)
        raise InputError(
            f"the run folder {folder} is in use{f': {there}' if there else ''}; --name must be one "
            f"not yet taken"
        )
    return folder


def _free_name(output: Path, name: str) -> str:
    """The name, or the first of name-2, name-3, ... that is free."""
    numbered = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(one for one in numbered if not _is_taken(output / one))


def _is_taken(folder: Path) -> bool:
    try:
        return folder.exists()
    except OSError as error:  # a path that is too long, say
        raise InputError(f"the run folder {folder} cannot be made: {error.strerror}") from error


@dataclass(frozen=True)
class Run:
    """A run folder that this command writes to.

    Attributes:
        journal: where what happens is written.
        past: what earlier commands of the run have done.
    """

    journal: Journal
    past: Past

    @property
    def trained_on(self) -> int:
        """How many trials go on from another one, or did."""
        outcomes = Outcomes(self.past.events)
        return len(outcomes.by_trial) - outcomes.drawn

    def is_complete(self, trials: int, search: SearchSettings) -> bool:
        """Whether earlier commands have drawn so many trials and left nothing to train or score."""
        outcomes = Outcomes(self.past.events)
        if outcomes.drawn < trials or self.past.standing:
            return False
        return not next_tasks(outcomes, search)


@contextmanager
def open_run(
    console: Console, folder: Path, prepared: Prepared, record: RunRecord | None = None
) -> Iterator[Run]:
    """Make the run folder, or go on with one, and leave what happened in it, however the run ends.

    A new folder in which no trial began is removed, so that its name is free again.

    Args:
        record: of the run to go on with; None for a new one.

    Raises:
        InputError: the folder cannot be made, or another process writes to it, or its journal is
            damaged.
    """
    from search.events.journal import Journal, read_journal
    from search.report.health import print_health

    location = prepared.config.search.checkpoints
    if record is None:
        _make(folder)
    keep = record is not None
    try:
        with hold(folder) as left, _followed(folder, prepared.config.search) as tell:
            console.print(f"run folder: {folder}", markup=False, soft_wrap=True)
            if left:
                note = f"{left} left it without an ending"
                console.print(f"note: {note}", markup=False, soft_wrap=True)
            if record is None:
                print_health(console, prepared.split.health)
                write_record(folder, prepared)
                claim(folder, location)
                past = Past()
            else:
                past = take_up(folder, checkpoints_of(folder, location))
                for note in past.notes:
                    console.print(f"resumed: {note}", markup=False, soft_wrap=True)
                rewrite_record(record, prepared)
            journal = Journal(folder / JOURNAL, tell, prepared.config.search.constraints)
            if not past.events:
                past = replace(past, events=tuple(read_journal(folder / JOURNAL)))
            keep = True
            try:
                yield Run(journal, past)
            finally:
                try:
                    journal.close()
                finally:  # what has reached the disk is ranked, though it be full by now
                    outcomes = Outcomes(read_journal(folder / JOURNAL))
                    keep = record is not None or bool(outcomes.by_trial)
                    if keep:
                        fault = Results(folder).write(outcomes, final=True)
                        if fault:
                            console.print(fault, markup=False, style="yellow")
    except OSError as error:
        # So it is with what is written to an open file; not with a working directory that is gone.
        if error.filename is None and not isinstance(error, FileNotFoundError):
            raise OSError(error.errno, error.strerror or str(error), str(folder)) from error
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _followed(folder: Path, search: SearchSettings) -> Iterator[Callable[[Event], None]]:
    """What is to be told of each event beside the journal: TensorBoard files, or nothing."""
    if not search.tensorboard:
        yield lambda event: None
        return
    from search.report.tensorboard import TensorBoardFiles

    with closing(TensorBoardFiles(folder)) as files:
        yield files.write


def _make(folder: Path) -> None:
    """Make the run folder; only one of two searches that ask for it at once gets it.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise InputError(f"the run folder {folder} is in use; --name must be new") from error
    except OSError as error:
        raise InputError(f"the run folder {folder} cannot be made: {error.strerror}") from error
