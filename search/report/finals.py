"""The final comparison as a table of the terminal."""

from __future__ import annotations

from rich.table import Table

from search.events.types import FinalRow, FinalsDecided
from search.finals.words import against_best


def finals_table(decided: FinalsDecided) -> Table:
    """Make a table of the models that were compared at the end, the candidates first."""
    what = "" if decided.compared == "accuracy" else f" ({decided.compared})"
    table = Table(box=None, padding=(0, 1), header_style="bold", title="final comparison")
    table.add_column("trial", no_wrap=True, justify="right")
    table.add_column("validation", no_wrap=True)
    if decided.split == "test":
        table.add_column(f"test{what}, 95 %", no_wrap=True)
    table.add_column("parameters", no_wrap=True, justify="right")
    table.add_column("against the best", no_wrap=True)
    for row in decided.rows:
        table.add_row(
            _name(row, decided),
            _spread(row),
            *([_interval(row)] if decided.split == "test" else []),
            f"{row.trainable_parameters:,}",
            against_best(decided, row.trial),
            style="bold" if row.trial == decided.trial else None,
        )
    return table


def _name(row: FinalRow, decided: FinalsDecided) -> str:
    if row.trial is None:
        return "untouched"
    is_reference = any(
        one.other == "reference" and one.trial == row.trial for one in decided.comparisons
    )
    return "reference" if is_reference else str(row.trial)


def _spread(row: FinalRow) -> str:
    if len(row.repeats) == 1:
        return f"{row.validation:.3f}"
    averaged = "averaged; " if row.averaged else ""
    return f"{row.validation:.3f} ({averaged}{row.lowest:.3f} to {row.highest:.3f})"


def _interval(row: FinalRow) -> str:
    return f"{row.measured.value:.3f} ({row.measured.low:.3f} to {row.measured.high:.3f})"
