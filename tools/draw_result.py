"""Draw accuracy against tokens a sentence, before and after a search, from its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import typer
from babel import Locale
from matplotlib.figure import Figure

from search.events.journal import read_journal
from search.events.outcomes import Outcomes
from search.runs.reported import reported_run
from search.runs.resume import JOURNAL

BEFORE, AFTER, LINE = "#8a8a8a", "#0063b2", "#c4c4c4"
NAMES = Locale("en").languages


def main(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    to: Annotated[Path, typer.Option(help="SVG file.")] = Path("docs/images/result.svg"),
) -> None:
    """Draw each language of a run before (the untouched base) and after (the best trial)."""
    outcomes = Outcomes(read_journal(run / JOURNAL))
    tokens = reported_run(run, outcomes).tokens
    before, after = outcomes.untouched, outcomes.best()
    if before is None or after is None:
        raise typer.BadParameter(f"{run} has no scored trial beside the untouched base")
    languages = sorted(outcomes.languages(), key=lambda language: tokens[language])
    x = [tokens[language] for language in languages]
    low = [before.by_language[language] for language in languages]
    high = [after.by_language[language] for language in languages]
    mpl.rcParams["svg.hashsalt"] = "isogloss"  # the same run gives the same file
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.vlines(x, low, high, color=LINE, linewidth=2, zorder=1)
    axes.plot(x, low, "o", color=BEFORE, label="base model as it is")
    axes.plot(x, high, "o", color=AFTER, label="best model of the search")
    for number, language in enumerate(languages):
        # Languages of nearly as many tokens stand on either side of their points.
        crowded = number and x[number] - x[number - 1] < 3
        axes.annotate(
            NAMES.get(language, language),
            (x[number], high[number]),
            (8 if crowded else -8, 3),
            textcoords="offset points",
            ha="left" if crowded else "right",
        )
    axes.set(
        xlabel="tokens a sentence",
        ylabel="retrieval accuracy",
        ylim=(0, 1.08),
        xlim=(0, 1.1 * x[-1]),
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left")
    to.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(to, metadata={"Date": None})


if __name__ == "__main__":
    typer.run(main)
