"""Train one model in this process, without Ray."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from search.runs.console import explain_os_error, redirect_library_output
from search.runs.stopping import StopError, StopRequest
from search.settings.problems import InputError
from search.space.source import Assignment, Source, assign

if TYPE_CHECKING:
    from rich.console import Console

    from search.events.journal import Journal
    from search.runs.prepare import Prepared

# A default batch is made smaller where there are few pairs, but fewer than these are refused.
LEAST_BATCH = 16


def train_one(console: Console, source: Source, folder: Path, verbose: bool) -> int:
    """Train the one model that the settings describe, and export it.

    Args:
        verbose: print every language after each epoch, not only the worst.

    Returns:
        The exit status.

    Raises:
        InputError: a setting is a domain, or the model, the sentences or the folder are at fault.
    """
    # Imported here: they take seconds, and --help and a misspelt option need none of them.
    from search.report.terminal import showing_phases
    from search.runs.finish import finish_in_order
    from search.runs.folder import open_run
    from search.runs.prepare import check_space, load_parts
    from search.space.file import space_of

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
    with showing_phases(console, "reading the base and the sentences"):
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
        with (
            open_run(console, folder, prepared) as run,
            suppress(StopError),
            showing_phases(console, "loading the base"),
        ):
            _train(console, folder, prepared, run.journal, verbose)
        return finish_in_order(console, folder, prepared, request, request.stop)


def _fitting(size: int, pairs: int) -> int:
    """A batch of a default size, halved until the pairs fill one, but not below the least."""
    fitting = size
    while fitting > pairs and fitting // 2 >= LEAST_BATCH:
        fitting //= 2
    return fitting if fitting <= pairs else size


def _train(
    console: Console, folder: Path, prepared: Prepared, journal: Journal, verbose: bool
) -> None:
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
            languages = sorted(report.scores.by_language.items(), key=lambda item: item[1])
            told = languages if verbose else languages[:1]
            listed = ", ".join(f"{name} {score:.3f}" for name, score in told)
            console.print(
                f"epoch {report.epoch} of {epochs}: loss {report.loss:.3f}, accuracy "
                f"{report.scores.accuracy:.3f} ({'' if verbose else 'worst: '}{listed}), "
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
