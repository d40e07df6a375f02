"""The ranking of a run as a table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from search.journal import Outcome, Outcomes
from search.trial import flatten

FIXED = ("rank", "trial", "state", "accuracy", "epochs", "seconds", "trainable_parameters")


def write_leaderboard(file: Path, outcomes: Outcomes) -> None:
    """Write one row a trial, best first, in place of what the file held.

    Columns: rank, trial, state, accuracy, epochs, seconds, trainable_parameters, one
    accuracy/<language> each, then the config with dotted keys. A setting that a trial has not got
    is empty, and so are the scores of a trial that failed.
    """
    ranked = outcomes.ranked()
    languages = dict.fromkeys(name for outcome in ranked for name in outcome.by_language)
    settings = dict.fromkeys(name for outcome in ranked for name in flatten(outcome.values))
    columns = [*FIXED, *(f"accuracy/{language}" for language in languages), *settings]
    fresh = file.with_suffix(".new")
    with fresh.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, columns, restval="")
        writer.writeheader()
        writer.writerows(_row(rank, outcome) for rank, outcome in enumerate(ranked, start=1))
    fresh.replace(file)


def _row(rank: int, outcome: Outcome) -> dict[str, Any]:
    row: dict[str, Any] = {
        "rank": rank,
        "trial": outcome.trial,
        "state": outcome.state or "stopped",
        "epochs": outcome.epochs,
        "seconds": round(outcome.seconds, 3),
        "trainable_parameters": outcome.trainable_parameters,
    }
    if outcome.epochs and outcome.state != "failed":
        row["accuracy"] = round(outcome.accuracy, 6)
        for language, accuracy in outcome.by_language.items():
            row[f"accuracy/{language}"] = round(accuracy, 6)
    for key, value in flatten(outcome.values).items():
        row[key] = json.dumps(value) if isinstance(value, list | bool) else value
    return row
