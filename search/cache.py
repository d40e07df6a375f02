"""The command ``isogloss cache`` (``python -m search.cache``): what is stored of frozen layers."""

from __future__ import annotations

import re
import time
from datetime import datetime
from os.path import expanduser
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from search.runs import options
from search.runs.console import exit_on_input_error, make_app, make_console
from search.settings.problems import InputError

SECONDS = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
FOLDER = Annotated[
    Path | None,
    typer.Option(help="Folder of the cache.", show_default="$ISOGLOSS_CACHE or ~/.cache/isogloss"),
]

app = make_app(commands=True)


@app.command(name="list", epilog=options.examples("isogloss cache list"))
def show(folder: FOLDER = None) -> None:
    """List what is stored, longest unused first."""
    from search.runtime.store import Store

    with exit_on_input_error():
        place = _place(folder)
        console = make_console()
        entries = Store(place, 0).entries() if place.is_dir() else []
        groups: dict[str, list[tuple[int, float]]] = {}
        for entry in entries:
            groups.setdefault(entry.what, []).append((entry.size, entry.used))
        what_column = Column("what", overflow="fold")
        table = Table(what_column, "files", "MB", "last used", box=None, header_style="bold")
        for what, files in sorted(
            groups.items(), key=lambda item: max(used for _, used in item[1])
        ):
            size = sum(size for size, _ in files) / 1e6
            used = datetime.fromtimestamp(max(used for _, used in files))
            table.add_row(escape(what), str(len(files)), f"{size:.1f}", f"{used:%Y-%m-%d %H:%M}")
        if entries:
            console.print(table)
        total = sum(entry.size for entry in entries) / 1e6
        console.print(
            f"{len(entries)} files, {total:.1f} MB in {place}", markup=False, soft_wrap=True
        )


@app.command(epilog=options.examples("isogloss cache clear --unused 4w"))
def clear(
    folder: FOLDER = None,
    unused: Annotated[
        str | None, typer.Option(help="Only what was not used for so long: 12h, 7d, 4w.")
    ] = None,
) -> None:
    """Remove what is stored; a search that runs recomputes what it still needs."""
    from search.runtime.store import Store

    with exit_on_input_error():
        since = None if unused is None else time.time() - _seconds(unused)
        place = _place(folder)
        try:
            gone = Store(place, 0).clear(since) if place.is_dir() else []
        except OSError as error:
            raise InputError(f"{error.filename} cannot be removed: {error.strerror}") from error
        size = sum(entry.size for entry in gone) / 1e6
        make_console().print(
            f"{len(gone)} files, {size:.1f} MB removed from {place}", markup=False, soft_wrap=True
        )


def _place(folder: Path | None) -> Path:
    from search.runtime.store import default_folder

    place = Path(expanduser(folder or default_folder()))
    if folder is not None and not place.is_dir():
        raise InputError(f"--folder is {str(folder)!r}; it must be a folder that exists")
    return place


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)([hdw])", text)
    if not found:
        raise InputError(f"--unused is {text!r}; it must be a number with h, d or w, such as 7d")
    return int(found.group(1)) * SECONDS[found.group(2)]


if __name__ == "__main__":
    app()
