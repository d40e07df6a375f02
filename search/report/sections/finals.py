"""The best model against the runner-up, the reference and the base without training."""

from __future__ import annotations

from search.events.types import FinalRow
from search.finals.words import (
    MEASURED_ON,
    against_best,
    describe_choice,
    describe_comparisons,
)
from search.report.section import Cell, ReportedRun, Section
from search.report.words import as_sentence

ORDER = 12


def _name(row: FinalRow) -> str:
    if row.trial is None:
        return "untouched base"
    runs = len(row.repeats)
    if runs == 1:
        return f"trial {row.trial}"
    return f"trial {row.trial}, {'average' if row.averaged else 'mean'} of {runs} runs"


def describe(run: ReportedRun) -> Section:
    """Say how the best model was chosen, and what sentences that chose nothing say of it."""
    decided = run.outcomes.decided
    if decided is None:
        return Section(
            "The final comparison",
            ["No models have been compared: that follows when a search has gone to its end."],
        )
    sentences = [
        f"How it was chosen: {describe_choice(decided)}.",
        f"Measured on {MEASURED_ON[decided.split]}:",
        *map(as_sentence, describe_comparisons(decided)),
    ]
    languages = list(decided.rows[0].by_language)
    rows: list[list[Cell]] = [
        [
            _name(row),
            row.validation,
            row.measured.value,
            row.measured.low,
            row.measured.high,
            *(row.by_language[name] for name in languages),
            row.trainable_parameters,
            against_best(decided, row.trial),
        ]
        for row in decided.rows
    ]
    columns = ["model", "validation", decided.split, "95 % from", "to", *languages]
    return Section(
        "The final comparison",
        sentences,
        columns=[*columns, "parameters", "against the best"],
        rows=rows,
    )
