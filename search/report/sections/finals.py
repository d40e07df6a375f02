"""The best model against the runner-up, the reference and the base without training."""

from __future__ import annotations

from search.finals.words import (
    MEASURED_ON,
    against_best,
    describe_choice,
    describe_comparisons,
)
from search.report.section import Cell, ReportedRun, Section
from search.report.words import as_sentence

ORDER = 12


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
            "untouched base" if row.trial is None else f"trial {row.trial}",
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
