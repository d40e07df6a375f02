"""The health of a search's sentences on the terminal: a line a language, notes and warnings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.data.health import Health, LanguageHealth
from search.report.tables import fits, format_share
from search.settings.problems import shown

# Title -> what stands under it. Where nothing does in any language, the column is left out.
OPTIONAL: dict[str, Callable[[LanguageHealth], int]] = {
    "empty": lambda one: one.empty,
    "alone": lambda one: one.places["alone"],
    "duplicate": lambda one: one.places["duplicate"],
    "leaked": lambda one: one.places["leaked"],
    "unused": lambda one: one.places["unused"],
    "copied": lambda one: one.copied,
}
MEANINGS = {
    "empty": "no sentence in the row",
    "alone": "in a row without another language",
    "duplicate": "in a row that repeats another",
    "leaked": "in a row that shares a sentence with rows held out",
    "unused": "beyond the rows asked for",
    "copied": "used, but the pivot's own text",
}


def print_health(console: Console, health: Health) -> None:
    """Print what was read, and what of it may make results worthless."""
    console.print(
        f"data: {health.rows:,} rows read, {health.train_rows:,} to train on "
        f"({health.train_pairs:,} pairs), {health.validation_rows:,} to validate with"
        + (f", {health.test_rows:,} to test with" if health.test_rows else ""),
        soft_wrap=True,
    )
    for table in _tables(console, health):
        console.print(table)
    told = [title for title, count in OPTIONAL.items() if any(map(count, health.languages))]
    meanings = "; ".join(f"{title}: {MEANINGS[title]}" for title in told)
    cut = any(one.cut for one in health.languages)
    if cut:
        meanings += (
            f"{'; ' if meanings else ''}cut: longer than {health.max_length} tokens, which "
            f"'tokens', the mean, counts no further"
        )
    if meanings:
        console.print(f"({meanings})", soft_wrap=True)
    for note in health.notes:
        console.print(f"note: {shown(note, 2000)}", markup=False, soft_wrap=True)
    for warning in health.warnings():
        console.print(
            f"warning: {shown(warning, 2000)}", markup=False, soft_wrap=True, style="yellow"
        )


def _tables(console: Console, health: Health) -> list[Table]:
    """The numbers in one table, or in two where the terminal is too narrow for that."""

    def number(value: int) -> str:
        return f"{value:,}" if value else "-"

    rows: dict[str, list[str]] = {"rows": [number(one.rows) for one in health.languages]}
    for title, count in OPTIONAL.items():
        counts = [count(one) for one in health.languages]
        if any(counts):
            rows[title] = list(map(number, counts))
    rows["train"] = [number(one.places["train"]) for one in health.languages]
    rows["valid."] = [number(one.places["validation"]) for one in health.languages]
    if health.test_rows:
        rows["test"] = [number(one.places["test"]) for one in health.languages]
    used = {
        "tokens": [f"{one.tokens:.1f}" for one in health.languages],
        "cut": [number(one.cut) for one in health.languages],
        "unknown": [format_share(one.unknown, zero="-") for one in health.languages],
    }
    whole = _table(health, rows | used)
    if fits(console, whole):
        return [whole]
    return [_table(health, rows), _table(health, used)]


def _table(health: Health, columns: dict[str, list[str]]) -> Table:
    made = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    names = [shown(one.language, 20) for one in health.languages]
    for title in ("language", *columns):
        side: Literal["left", "right"] = "left" if title == "language" else "right"
        made.add_column(Text(title, justify=side), no_wrap=True, justify=side)
    for one, *row in zip(health.languages, names, *columns.values(), strict=True):
        style = "bold" if one.language == health.pivot else None
        made.add_row(*map(Text, row), style=style)
    return made
