"""The settings of a trial of a run, to train them again: on more data, longer, on more workers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.events.journal import read_journal
from search.events.outcomes import Outcome, Outcomes
from search.runs.exporting import refuse_unknown_trial
from search.runs.record import RunRecord, read_record
from search.runs.resume import JOURNAL
from search.settings.problems import InputError, Problem
from search.space.source import Assignment, Source


def find_trial(record: RunRecord, number: int | None) -> Outcome:
    """The trial of a run by its number, or the one that was chosen as the best.

    Raises:
        InputError: there is none of that number, or none with a score.
    """
    outcomes = Outcomes(read_journal(record.folder / JOURNAL))
    if number is None:
        best = outcomes.best()
        if best is None or best.state is None:
            raise InputError(
                f"no trial of {record.folder} has ended with a score; --trial must name one"
            )
        return best
    refuse_unknown_trial(outcomes, number)
    return outcomes.by_trial[number]


# Options of a command for one model that a trial of a run has an answer to.
SAID_BY_RUN = (
    "pooling", "head", "mlp_head", "mlp_hidden", "width", "adapter", "loss", "negatives", "base",
)  # fmt: skip


def from_here(value: object) -> object:
    """Make the paths in an option's value absolute; names of other things stay as they are."""
    if isinstance(value, dict):
        return {key: from_here(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_here(item) for item in value]
    if not isinstance(value, str):
        return value
    is_path = any(Path().glob(value)) if "*" in value else Path(value).exists()
    return str(Path(value).absolute()) if is_path and value else value


def trial_source(
    run: Path, number: int | None, given: Sequence[Assignment], typed: Collection[str]
) -> tuple[list[Assignment], Source]:
    """A trial's settings as those of one model, with the data, metric and epochs of its run.

    Relative paths of the run count from where they did when it began, those of options from here.

    Args:
        number: of the trial; None for the best one.
        given: what the options of the command change.
        typed: names of the options that the user has given.

    Returns:
        The changes, with their paths made absolute, and the settings without them.

    Raises:
        InputError: it is no run folder, there is no such trial, or an option has no place beside
            it.
    """
    problems = [
        Problem(
            "", 0, f"--{name.replace('_', '-')}",
            "is given beside --from; it must be left out (--set KEY=VALUE changes what the trial "
            "has)",
        )
        for name in SAID_BY_RUN
        if name in typed
    ]  # fmt: skip
    if problems:
        raise InputError(problems)
    record = read_record(run)
    trial = find_trial(record, number)
    paths = ("data.train", "data.validation")
    changes = [replace(o, value=from_here(o.value)) if o.key in paths else o for o in given]
    record.enter_directory()
    search = record.plain["config"]["search"]
    scheduler = search["scheduler"]
    most_epochs = trial.most_epochs or scheduler["max_epochs"]
    asked = [o.value for o in given if o.key == "search.scheduler.max_epochs"]
    fewest = min([most_epochs, *(value for value in asked if isinstance(value, int))])
    tree: dict[str, Any] = {
        name: deepcopy(record.space[name]) for name in ("data", "cache") if name in record.space
    }
    tree |= deepcopy(dict(trial.values))
    tree.pop("case", None)
    tree["search"] = {
        "trials": 1,
        "finalists": None,
        "metric": search["metric"],
        "objective": search["objective"],
        "scheduler": {
            "kind": "none",
            "max_epochs": most_epochs,
            # The warm-up is a share of them.
            "grace_epochs": min(scheduler["grace_epochs"], fewest),
        },
    }
    if "train" in typed:  # all of other sentences are used, whatever share of the run's own was
        tree["training"]["pairs_per_epoch"] = None
        for name in ("train_rows", "validation_rows"):
            tree["data"].pop(name, None)
    place = f"trial {trial.trial} of {record.folder}"
    return changes, Source(tree, {(): (place, 0)})
