"""What tables on the terminal share: shares in per cent, and whether a table is too wide."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


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
