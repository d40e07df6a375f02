"""The command ``isogloss report`` (``python -m search.report``): a page that explains a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.runs import options
from search.runs.console import exit_on_input_error, make_app, make_console
from search.settings.problems import InputError

app = make_app()


@app.command(epilog=options.examples("isogloss report runs/FIRST runs/SECOND"))
def main(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; the page goes to the first.")],
) -> None:
    """Write report.html from the journals of runs; several are compared, then told of each."""
    from search.events.journal import read_journal
    from search.events.outcomes import Outcomes
    from search.report.page import REPORT, write_page
    from search.runs.reported import reported_run
    from search.runs.resume import JOURNAL

    with exit_on_input_error():
        for run in runs:
            if not (run / JOURNAL).is_file():
                raise InputError(f"RUN is {str(run)!r}; it must be a run folder, with {JOURNAL}")
        pages = [reported_run(run, Outcomes(read_journal(run / JOURNAL))) for run in runs]
        file = runs[0] / REPORT
        write_page(file, pages)
        make_console().print(f"report: {file}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    app()
