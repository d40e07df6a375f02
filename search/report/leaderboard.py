"""The ranking of a run as a table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from search.events.journal import Outcome, Outcomes
from search.settings.trial import Scores, flatten

FIXED = ("rank", "trial", "state", "accuracy", "epochs", "seconds", "trainable_parameters")


def write_leaderboard(file: Path, outcomes: Outcomes) -> None:
    """Write one row a trial, best first, in place of what the file held.

    Columns: rank, trial, state, accuracy, epochs, seconds, trainable_parameters, one
    accuracy/<language> each, then the config with dotted keys. A setting that a trial has not got
    is empty, and so are the scores of a trial that failed. A trial that the run's end has cut short
    is ``unfinished``. The last row, whose state is
    ``untouched``, has the scores of the base without training; it has no rank and no trial.
    """
    ranked = outcomes.ranked()
    settings = dict.fromkeys(name for outcome in ranked for name in flatten(outcome.values))
    columns = [*FIXED, *(f"accuracy/{language}" for language in outcomes.languages()), *settings]
    fresh = file.with_suffix(".new")
    with fresh.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, columns, restval="")
        writer.writeheader()
        writer.writerows(_row(rank, outcome) for rank, outcome in enumerate(ranked, start=1))
        if outcomes.untouched is not None:
            row = {"state": "untouched", "epochs": 0, "trainable_parameters": 0}
            writer.writerow(row | _scores(outcomes.untouched))
    fresh.replace(file)


def _row(rank: int, outcome: Outcome) -> dict[str, object]:
    row: dict[str, object] = {
        "rank": rank,
        "trial": outcome.trial,
        "state": outcome.state or "unfinished",
        "epochs": outcome.epochs,
        "seconds": round(outcome.seconds, 3),
        "trainable_parameters": outcome.trainable_parameters,
    }
    if outcome.epochs and outcome.state != "failed":
        row |= _scores(Scores(outcome.accuracy, outcome.by_language))
    for key, value in flatten(outcome.values).items():
        row[key] = json.dumps(value) if isinstance(value, list | bool) else value
    return row


def _scores(scores: Scores) -> dict[str, object]:
    by_language = {f"accuracy/{name}": value for name, value in scores.by_language.items()}
    every = {"accuracy": scores.accuracy} | by_language
    return {column: round(value, 6) for column, value in every.items()}
