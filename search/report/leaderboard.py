"""The ranking of a run as a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

from search.events.outcomes import Outcome, Outcomes
from search.events.types import FinalsDecided
from search.finals.words import against_best
from search.runtime.files import replace_text
from search.scoring.constraints import describe
from search.settings.trial import Scores, flatten

FIXED = ("rank", "trial", "state", "accuracy", "epochs", "seconds", "trainable_parameters")


def write_leaderboard(file: Path, outcomes: Outcomes) -> None:
    """Write one row a trial, best first, in place of what the file held.

    Columns: rank, trial, state, accuracy, epochs, seconds, trainable_parameters, ``parent`` where a
    trial goes on from another one, one accuracy/<language> each, then the config with dotted keys.
    Where the search maximises something else than the mean accuracy, ``objective`` has its value
    and metric/<language> that of a metric other than the accuracy. A setting that a trial has not
    got is empty, and so are the scores of a trial that failed. A trial that the run's end has cut
    short is ``unfinished``. The last row, whose state is ``untouched``, has the scores of the base
    without training; it has no rank and no trial.

    Where the search has constraints, ``violations`` says which ones a trial does not keep; such
    trials stand after the others.

    The models of the final comparison also have ``finals``, the mean over the finalist's runs with
    other seeds of what is maximised, and ``against_best``; if sentences are put aside, ``test``
    with its 95 % interval, ``test_low`` and ``test_high``, and test/<language>.
    """
    ranked = outcomes.ranked()
    settings = dict.fromkeys(name for outcome in ranked for name in flatten(outcome.values))
    scores = [outcome.scores for outcome in ranked if outcome.has_score]
    scores += [] if outcomes.untouched is None else [outcomes.untouched]
    measured = dict.fromkeys(name for one in scores for name in _scores(one))
    measured |= dict.fromkeys(f"accuracy/{language}" for language in outcomes.languages())
    finals = _finals(outcomes.decided)
    measured |= dict.fromkeys(name for row in finals.values() for name in row)
    sometimes = ["parent"] if any(outcome.parent is not None for outcome in ranked) else []
    sometimes += [] if outcomes.constraints.are_none else ["violations"]
    columns = [*FIXED, *sometimes, *(name for name in measured if name not in FIXED), *settings]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(rows(outcomes))
    if outcomes.untouched is not None:
        row = {"state": "untouched", "epochs": 0, "trainable_parameters": 0}
        writer.writerow(row | _scores(outcomes.untouched) | finals.get(None, {}))
    replace_text(file, text.getvalue())


def rows(outcomes: Outcomes) -> list[dict[str, object]]:
    """The rows of the trials, best first; each has only the columns that its trial has."""
    finals = _finals(outcomes.decided)
    return [
        _row(rank, outcome, outcomes.violations(outcome)) | finals.get(outcome.trial, {})
        for rank, outcome in enumerate(outcomes.ranked(), start=1)
    ]


def _finals(decided: FinalsDecided | None) -> dict[int | None, dict[str, object]]:
    """Trial, or None for the base without training -> its columns of the final comparison."""
    found: dict[int | None, dict[str, object]] = {}
    for one in decided.rows if decided is not None else ():
        assert decided is not None
        row: dict[str, object] = {"finals": round(one.validation, 6)}
        if decided.split == "test":
            ends = {"": one.measured.value, "_low": one.measured.low, "_high": one.measured.high}
            row |= {f"test{end}": round(value, 6) for end, value in ends.items()}
            row |= {f"test/{name}": round(value, 6) for name, value in one.by_language.items()}
        found[one.trial] = row | {"against_best": against_best(decided, one.trial)}
    return found


def _row(rank: int, outcome: Outcome, violations: Mapping[str, float]) -> dict[str, object]:
    row: dict[str, object] = {
        "rank": rank,
        "trial": outcome.trial,
        "state": outcome.state or "unfinished",
        "epochs": outcome.epochs,
        "seconds": round(outcome.seconds, 3),
        "trainable_parameters": outcome.trainable_parameters,
    }
    if outcome.parent is not None:
        row["parent"] = outcome.parent
    if outcome.has_score and violations:
        row["violations"] = "; ".join(describe(violations))
    if outcome.has_score:
        row |= _scores(outcome.scores)
    for key, value in flatten(outcome.values).items():
        row[key] = json.dumps(value) if isinstance(value, list | bool) else value
    return row


def _scores(scores: Scores) -> dict[str, object]:
    every = {"accuracy": scores.accuracy}
    if scores.objective is not None:
        every["objective"] = scores.objective
    every |= {f"accuracy/{name}": value for name, value in scores.by_language.items()}
    every |= {f"metric/{name}": value for name, value in scores.metric.items()}
    return {column: round(value, 6) for column, value in every.items()}
