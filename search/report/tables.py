"""What tables on the terminal share: shares in per cent, and whether a table is too wide."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from search.events.outcomes import Outcomes

SCORE = 5  # characters of a score


def format_share(value: float, zero: str = "0") -> str:
    """Write a share between 0 and 1 in per cent.

    Args:
        zero: what stands for exactly 0.
    """
    if not value:
        return zero
    return "<0.1 %" if value < 0.0005 else f"{100 * value:.1f} %"


def fits(console: Console, table: Table) -> bool:
    """Whether the console is wide enough for a table, none of whose cells may be folded."""
    unbounded = console.options.update(width=10_000)
    return Measurement.get(console, unbounded, table).minimum <= console.width


def widths(rows: Sequence[Sequence[Text]]) -> list[int]:
    """Width of each column, in characters of a terminal."""
    return [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]


def fitting_languages(
    outcomes: Outcomes, room: int, gap: int, longest: int | None = None
) -> list[str]:
    """As many languages as there is room for a column of, those in which the reference is worst.

    Args:
        room: characters.
        gap: blanks between columns.
        longest: characters of a name, of which the rest is cut off.
    """
    languages, reference = outcomes.languages(), outcomes.reference()
    before = {} if reference is None else reference.by_language
    fitting = set()
    for name in sorted(languages, key=lambda name: before.get(name, 0.0)):
        room -= max(SCORE, cell_len(name[:longest])) + gap
        if room < 0:
            break
        fitting.add(name)
    return [name for name in languages if name in fitting]


def line_up(
    rows: Sequence[Sequence[Text]], width: int, gap: int = 2, right: Collection[int] = ()
) -> Table:
    """Make a table of lines, of whose columns only the last is cut where there is no room.

    Args:
        gap: blanks between columns.
        right: columns of numbers.
    """
    sizes = widths(rows)
    room = width - sum(size + gap for size in sizes[:-1])
    table = Table.grid(padding=(0, gap, 0, 0))
    for index, size in enumerate(sizes[:-1]):
        side: Literal["left", "right"] = "right" if index in right else "left"
        table.add_column(no_wrap=True, min_width=size, justify=side)
    table.add_column(no_wrap=True)
    for *cells, last in rows:
        last.truncate(max(0, room), overflow="ellipsis")
        table.add_row(*cells, last)
    return table
