"""The command: ``python -m tests.faults [FAULTS]``: inject them, and print what came of each.

Searches that get signals, are killed or fill a disk are real: Ray is started, the tiny base is
trained; one takes about half a minute. Journals are damaged in searches of which only the training
is left out. Disks are small file systems in memory, which mostly only root may mount.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.faults import disks, journals, kills, signals
from tests.faults.searches import Row

FAULTS: dict[str, Callable[[Path, int], Iterator[Row]]] = {
    "disks": disks.rows,
    "journals": journals.rows,
    "kills": kills.rows,
    "signals": signals.rows,
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    faults: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(FAULTS)}; all by default.")
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, help="Kills; journals are damaged 20 times as often.")
    ] = 10,
) -> None:
    """Inject faults into real searches; exit status 1 where one ends badly."""
    console = Console(soft_wrap=True, highlight=False)
    table = Table("fault", "found", "seconds", "")
    bad = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        for name in faults or FAULTS:
            if name not in FAULTS:
                raise typer.BadParameter(f"{name!r}; it must be of {', '.join(FAULTS)}")
            output = Path(folder) / name
            output.mkdir()
            began = time.monotonic()
            for row in FAULTS[name](output, count):
                seconds, began = time.monotonic() - began, time.monotonic()
                bad += not row.is_sound
                sound = "sound" if row.is_sound else "BAD"
                console.print(f"{row.fault}: {row.found}: {sound} ({seconds:.0f} s)", markup=False)
                table.add_row(row.fault, row.found, f"{seconds:.0f}", sound)
    console.print(table)
    raise typer.Exit(bad > 0)


if __name__ == "__main__":
    app()
