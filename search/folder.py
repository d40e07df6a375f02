"""The folder of a run, and what every command that makes one does around it."""

from __future__ import annotations

import json
import logging
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from search.problems import InputError

if TYPE_CHECKING:
    from search.journal import Journal
    from search.prepare import Prepared

FINISHED, NONE_FINISHED, AT_FAULT, INTERRUPTED = 0, 1, 2, 130
CHATTY = ("ray", "transformers", "sentence_transformers", "datasets", "optuna", "peft")
MOST_PROBLEMS = 20  # that are told one by one
PLAIN_WIDTH = 160  # of tables that go to a file
JOURNAL = "journal.jsonl"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
PACKAGES = ("isogloss", "ray", "torch", "transformers", "peft", "optuna", "datasets", "pyarrow",
            "sentence-transformers")  # fmt: skip


@contextmanager
def told() -> Iterator[None]:
    """End the command with a sentence for each fault of the user's input, or when interrupted."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        yield
    except InputError as error:
        for problem in error.problems[:MOST_PROBLEMS]:
            errors.print(f"error: {problem}", markup=False)
        if more := len(error.problems[MOST_PROBLEMS:]):
            errors.print(f"and {more:,} more")
        raise typer.Exit(AT_FAULT) from error
    except KeyboardInterrupt as error:
        errors.print("interrupted")
        raise typer.Exit(INTERRUPTED) from error


def terminal() -> Console:
    """The console to print on."""
    # Bound to this stdout: while libraries run, sys.stdout is a file in the run folder.
    console = Console(highlight=False, file=sys.stdout)
    if not console.is_terminal:
        console.width = max(console.width, PLAIN_WIDTH)
    return console


@contextmanager
def quiet(folder: Path) -> Iterator[None]:
    """Send what libraries print and log to a file of the run folder."""
    loggers = [logging.getLogger(name) for name in CHATTY]
    handlers = [h for one in loggers for h in one.handlers if isinstance(h, logging.StreamHandler)]
    file = folder / "output.log"
    with file.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        before = [handler.setStream(log) for handler in handlers]
        try:
            yield
        finally:
            for handler, stream in zip(handlers, before, strict=True):
                if stream is not None:
                    handler.setStream(stream)


def run_folder(output: Path, name: str | None, stem: str) -> Path:
    """The folder of a run, which must not exist; without a name, its own and the time.

    Raises:
        InputError: the name leaves the output folder, or the folder is in use.
    """
    if name is None:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "search"
        name = f"{stem}-{datetime.now():%Y%m%d-%H%M%S}"
    if not NAME.fullmatch(name) or name.endswith(".new"):
        raise InputError(
            f"--name is {name!r}; it must be letters, digits, '.', '_' and '-' only, and start "
            f"with a letter or digit"
        )
    folder = output / name
    try:
        taken = folder.exists()
    except OSError as error:  # a path that is too long, say
        raise InputError(f"the run folder {folder} cannot be made: {error.strerror}") from error
    if taken:
        raise InputError(f"the run folder {folder} is in use; --name must be one not yet taken")
    return folder


@contextmanager
def recorded(console: Console, folder: Path, prepared: Prepared) -> Iterator[Journal]:
    """Make the run folder, and leave what happened in it, however the run ends.

    A folder in which no trial began is removed, so that its name is free again.

    Yields:
        The run's journal.

    Raises:
        InputError: the folder cannot be made.
    """
    from search.journal import Journal, Outcomes, read_journal
    from search.report.health import print_health
    from search.report.leaderboard import write_leaderboard

    _make(folder)
    console.print(f"run folder: {folder}", markup=False, soft_wrap=True)
    print_health(console, prepared.split.health)
    _write_run(folder / "run.json", prepared)
    journal = Journal(folder / JOURNAL)
    try:
        yield journal
    finally:
        journal.close()
        outcomes = Outcomes(read_journal(folder / JOURNAL))
        if outcomes.by_trial:
            write_leaderboard(folder / "leaderboard.csv", outcomes)
        else:
            shutil.rmtree(folder)


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


def _write_run(file: Path, prepared: Prepared) -> None:
    """What it takes to know, and to repeat, what was run."""
    from search.settings import FIXED_SECTIONS

    record = {
        "command": shlex.join(["python", "-m", f"search.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "space": prepared.space.source.tree,
        "config": prepared.config.model_dump(include=set(FIXED_SECTIONS)),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
        "data": {
            part: {
                "rows": corpus.rows,
                "sentences": dict(zip(corpus.languages, corpus.counts, strict=True)),
                "sha256": corpus.digest,
            }
            for part, corpus in (
                ("train", prepared.split.train),
                ("validation", prepared.split.validation),
            )
        }
        | {"health": prepared.split.health.plain()},
    }
    file.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def conclude(console: Console, folder: Path, prepared: Prepared, interrupted: bool) -> int:
    """Rank the trials and make the best one a model; the exit status."""
    from components.languages import FamilyTable
    from search.checkpoint import Checkpoint
    from search.export import ExportError, export, trusted
    from search.journal import Outcomes, read_journal
    from search.report.terminal import ranking
    from search.trial import Scores, TrialConfig

    if not folder.exists():
        console.print("interrupted before any trial began")
        return INTERRUPTED
    outcomes = Outcomes(read_journal(folder / JOURNAL))
    console.print(ranking(outcomes))
    console.print(f"\nleaderboard: {folder / 'leaderboard.csv'}", markup=False, soft_wrap=True)
    if interrupted:
        console.print("interrupted: the trials so far are in the leaderboard, best/ was not made")
        return INTERRUPTED
    for note in filter(None, (prepared.ended_early(len(outcomes.by_trial)), prepared.repeats)):
        console.print(note, markup=False, soft_wrap=True)
    if not outcomes.count("finished"):
        console.print("no trial finished, so there is no best/", style="red")
        return NONE_FINISHED
    best = outcomes.best()
    assert best is not None, "a finished trial has a score"
    untouched = outcomes.untouched
    if untouched is not None and best.accuracy <= untouched.accuracy:
        console.print(
            f"no trial is better than the base without training ({untouched.accuracy:.3f}); best/ "
            f"is the best trial all the same",
            style="yellow",
        )
    data = (folder / "trials" / str(best.trial) / "checkpoint.safetensors").read_bytes()
    try:
        status = console.status("writing and checking best/")
        with status if console.is_terminal else nullcontext(), quiet(folder):
            export(
                TrialConfig.model_validate(best.values),
                Checkpoint.from_bytes(data),
                folder / "best",
                validation=prepared.split.validation_text,
                tokenised=prepared.split.validation,
                table=FamilyTable(prepared.config.data.families),
                expected=Scores(best.accuracy, best.by_language),
                reference=outcomes.reference(),
                untouched=untouched,
                prompts=prepared.split.prompts,
            )
    except (ExportError, ValueError) as error:
        console.print(f"best/ could not be made: {error}", markup=False, style="red")
        return NONE_FINISHED
    trust = ", trust_remote_code=True" if trusted(folder / "best") else ""
    console.print(
        f'best model: SentenceTransformer("{folder / "best"}"{trust})', markup=False, soft_wrap=True
    )
    return FINISHED
