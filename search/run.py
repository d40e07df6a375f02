"""The command: ``python -m search.run SPACE``."""

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
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from search.problems import InputError

if TYPE_CHECKING:
    from search.journal import Outcomes
    from search.prepare import Prepared, Split

FINISHED, NONE_FINISHED, AT_FAULT, INTERRUPTED = 0, 1, 2, 130
CHATTY = ("ray", "transformers", "sentence_transformers", "datasets", "optuna", "peft")
PLAIN_WIDTH = 160  # of tables that go to a file
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
PACKAGES = ("isogloss", "ray", "torch", "transformers", "peft", "optuna", "datasets", "pyarrow",
            "sentence-transformers")  # fmt: skip

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    space: Annotated[Path, typer.Argument(help="Space file.", show_default=False)],
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print sampled configs and start nothing.")
    ] = False,
) -> None:
    """Search for the best cross-lingual sentence embedder in a space.

    Exit status: 0 a trial finished and best/ is there; 1 none finished; 2 the space, data, model
    or resources are at fault; 130 interrupted.
    """
    changes = list(assignments or [])
    changes += [f"search.trials={trials}"] if trials is not None else []
    changes += [f"search.concurrency={concurrency}"] if concurrency is not None else []
    # Ray's workers change directory: every path is made absolute before it starts.
    start = Path.cwd()
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        if dry_run:
            status = _dry_run(start / space, changes)
        else:
            stem = re.sub(r"[^A-Za-z0-9._-]+", "-", space.stem).strip("-._") or "search"
            run_name = f"{stem}-{datetime.now():%Y%m%d-%H%M%S}" if name is None else name
            status = _search(start / space, changes, (start / output).resolve(), run_name, address)
    except InputError as error:
        for problem in error.problems:
            errors.print(f"error: {problem}", markup=False)
        status = AT_FAULT
    except KeyboardInterrupt:
        errors.print("interrupted")
        status = INTERRUPTED
    raise typer.Exit(status)


def _search(
    space_file: Path, changes: list[str], output: Path, name: str, address: str | None
) -> int:
    # Imported here: they take seconds, and --help and a misspelt option need none of them.
    from search.cluster import cluster, cluster_nodes
    from search.journal import Journal, Outcomes, read_journal
    from search.prepare import prepare
    from search.report.leaderboard import write_leaderboard
    from search.report.terminal import View, ranking
    from search.resources import local_node, plan_lanes
    from search.tuning import InterruptedSearchError, run_trials

    # Bound to this stdout: while libraries run, sys.stdout is a file in the run folder.
    console = Console(highlight=False, file=sys.stdout)
    if not console.is_terminal:
        console.width = max(console.width, PLAIN_WIDTH)
    folder = run_folder(output, name)
    prepared = prepare(space_file, changes)
    config = prepared.config
    if address is not None and address.startswith("ray://"):
        raise InputError(
            f"--address is {address!r}, a Ray Client; it must be 'auto' or HOST:PORT, and the "
            f"command must run on a node of that cluster"
        )
    here = local_node()
    with prepared.placing():
        plan = plan_lanes(config.lane, config.search, [[here]]) if address is None else None
    split = prepared.load()
    make_folder(folder)
    console.print(f"run folder: {folder}", markup=False, soft_wrap=True)
    _write_run(folder / "run.json", prepared, split)
    journal = Journal(folder / "journal.jsonl")
    view = View(console, name, config.search.trials)
    interrupted = False
    try:
        with view, quiet(folder), cluster(address, int(here.cpus), int(here.gpus)) as dashboard:
            nodes = cluster_nodes()
            if plan is None:
                with prepared.placing():
                    plan = plan_lanes(config.lane, config.search, nodes)
            view.running(dashboard, str(plan))
            run_trials(
                prepared.space,
                config,
                plan,
                name=name,
                folder=folder,
                corpora=[split.train, split.validation],
                journal=journal,
                view=view,
                growing=len(nodes) > 1,
            )
    except InterruptedSearchError:
        interrupted = True
    finally:
        journal.close()
        outcomes = Outcomes(read_journal(folder / "journal.jsonl"))
        if outcomes.by_trial:
            write_leaderboard(folder / "leaderboard.csv", outcomes)
        elif not interrupted:
            shutil.rmtree(folder)  # no trial ever began: leave the name free
    console.print(ranking(outcomes))
    console.print(f"\nleaderboard: {folder / 'leaderboard.csv'}", markup=False, soft_wrap=True)
    if interrupted:
        console.print("interrupted: the trials so far are in the leaderboard, best/ was not made")
        return INTERRUPTED
    if not outcomes.count("finished"):
        console.print("no trial finished, so there is no best/", style="red")
        return NONE_FINISHED
    return _export(console, folder, outcomes, split)


def _export(console: Console, folder: Path, outcomes: Outcomes, split: Split) -> int:
    from search.checkpoint import Checkpoint
    from search.export import ExportError, export, trusted
    from search.trial import Scores, TrialConfig

    best = outcomes.best()
    assert best is not None, "a finished trial has a score"
    data = (folder / "trials" / str(best.trial) / "checkpoint.safetensors").read_bytes()
    try:
        status = console.status("writing and checking best/")
        with status if console.is_terminal else nullcontext(), quiet(folder):
            export(
                TrialConfig.model_validate(best.values),
                Checkpoint.from_bytes(data),
                folder / "best",
                validation=split.validation_text,
                tokenised=split.validation,
                expected=Scores(best.accuracy, best.by_language),
            )
    except (ExportError, ValueError) as error:
        console.print(f"best/ could not be made: {error}", markup=False, style="red")
        return NONE_FINISHED
    trust = ", trust_remote_code=True" if trusted(folder / "best") else ""
    console.print(
        f'best model: SentenceTransformer("{folder / "best"}"{trust})', markup=False, soft_wrap=True
    )
    return FINISHED


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


def run_folder(output: Path, name: str) -> Path:
    """The folder of a run, which must not exist.

    Raises:
        InputError: the name leaves the output folder, or the folder is in use.
    """
    if not NAME.fullmatch(name) or name.endswith(".new"):
        raise InputError(
            f"--name is {name!r}; it must be letters, digits, '.', '_' and '-' only, and start "
            f"with a letter or digit"
        )
    folder = output / name
    if folder.exists():
        raise InputError(f"the run folder {folder} is in use; --name must be one not yet taken")
    return folder


def make_folder(folder: Path) -> None:
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


def _write_run(file: Path, prepared: Prepared, split: Split) -> None:
    """What it takes to know, and to repeat, what was run."""
    from search.settings import FIXED_SECTIONS

    record = {
        "command": shlex.join(["python", "-m", "search.run", *sys.argv[1:]]),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "space": prepared.space.source.tree,
        "config": prepared.config.model_dump(include=set(FIXED_SECTIONS)),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
        "data": {
            part: {
                "rows": len(corpus.meaning),
                "sentences": dict(zip(corpus.languages, corpus.counts, strict=True)),
                "sha256": corpus.digest,
            }
            for part, corpus in (("train", split.train), ("validation", split.validation))
        },
    }
    file.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _dry_run(space_file: Path, changes: list[str]) -> int:
    from search.prepare import prepare
    from search.sampler import draw
    from search.trial import TrialConfig, flatten

    prepared = prepare(space_file, changes)
    search = prepared.config.search
    console = Console(highlight=False, soft_wrap=True)
    for number, values in enumerate(draw(prepared.space, search.sampler, search.trials)):
        parameters = prepared.trainable_parameters(values)
        title = f"trial {number}: {parameters:,} trainable parameters"
        console.print(title + (" (the reference)" if number == 0 else ""), style="bold")
        settings = flatten(TrialConfig.of(values).model_dump(exclude={"base"}))
        console.print("  " + ", ".join(f"{k}={v}" for k, v in settings.items()), markup=False)
    console.print(
        f"{search.trials} configs; past the first {search.sampler.startup_trials}, the search "
        f"itself draws by the results it has seen"
    )
    return FINISHED


if __name__ == "__main__":
    app()
