"""The folder of a run: its name, what it records, and the leaderboard."""

from __future__ import annotations

import json
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from search.settings.problems import InputError

if TYPE_CHECKING:
    from search.events.journal import Journal
    from search.runs.prepare import Prepared

JOURNAL = "journal.jsonl"
LEADERBOARD = "leaderboard.csv"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MOST_OF_STEM = 60  # characters of the space file's name
PACKAGES = ("isogloss", "ray", "torch", "transformers", "peft", "optuna", "datasets", "pyarrow",
            "sentence-transformers")  # fmt: skip


def choose_run_folder(output: Path, name: str | None, stem: str) -> Path:
    """The folder of a run, which must not exist; without a name, its own and the time.

    Raises:
        InputError: the name leaves the output folder, or the folder is in use.
    """
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
        raise InputError(f"the run folder {folder} is in use; --name must be one not yet taken")
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


@contextmanager
def open_run(console: Console, folder: Path, prepared: Prepared) -> Iterator[Journal]:
    """Make the run folder, and leave what happened in it, however the run ends.

    A folder in which no trial began is removed, so that its name is free again.

    Yields:
        The run's journal.

    Raises:
        InputError: the folder cannot be made.
    """
    from search.events.journal import Journal, Outcomes, read_journal
    from search.report.health import print_health
    from search.report.leaderboard import write_leaderboard

    _make(folder)
    keep = False
    try:
        console.print(f"run folder: {folder}", markup=False, soft_wrap=True)
        print_health(console, prepared.split.health)
        _write_run(folder / "run.json", prepared)
        journal = Journal(folder / JOURNAL)
        keep = True
        try:
            yield journal
        finally:
            try:
                journal.close()
            finally:  # what has reached the disk is ranked, though it be full by now
                outcomes = Outcomes(read_journal(folder / JOURNAL))
                keep = bool(outcomes.by_trial)
                if keep:
                    write_leaderboard(folder / LEADERBOARD, outcomes)
    except OSError as error:
        if error.filename is None:  # so it is with what is written to an open file
            raise OSError(error.errno, error.strerror or str(error), str(folder)) from error
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


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


def _version(package: str) -> str | None:
    """None for one that is not installed: the commands also run from a folder of the sources."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _write_run(file: Path, prepared: Prepared) -> None:
    """What it takes to know, and to repeat, what was run."""
    from search.space.run_config import FIXED_SECTIONS

    record = {
        "command": shlex.join(["python", "-m", f"search.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "space": prepared.space.source.tree,
        "config": prepared.config.model_dump(include=set(FIXED_SECTIONS)),
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in PACKAGES},
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
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    # A name of a file that is not UTF-8 is recorded with its bytes escaped.
    file.write_text(text, encoding="utf-8", errors="backslashreplace")
