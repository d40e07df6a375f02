"""What a section of report.html is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from search.events.outcomes import Outcomes


@dataclass(frozen=True)
class ReportedRun:
    """What the page knows of a run.

    Attributes:
        name: of its folder.
        outcomes: its trials.
        tokens: language -> mean tokens of a sentence; empty where this was not recorded.
        families: language -> family of its script; empty where this was not recorded.
        max_epochs, rungs: epochs of a finished trial, and those after which trials may be stopped.
        started: Unix time at which the command began; None where this was not recorded.
        facts: what it takes to repeat the run: name -> value, as text.
        warnings: what of the sentences may make results worthless.
    """

    name: str
    outcomes: Outcomes
    tokens: Mapping[str, float] = field(default_factory=dict)
    families: Mapping[str, str] = field(default_factory=dict)
    max_epochs: int = 0
    rungs: Sequence[int] = ()
    started: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()


Json = Mapping[str, object]  # a part of a Plotly figure, as it stands in its JSON
Cell = str | int | float | None


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading, as text.
        sentences: paragraphs above the chart, as text.
        traces, layout: a Plotly figure; no traces, no chart.
        columns, rows: the table behind the chart; shown openly where there is no chart.
    """

    title: str
    sentences: Sequence[str] = ()
    traces: Sequence[Json] = ()
    layout: Json = field(default_factory=dict)
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()


def compared_scores(outcomes: Outcomes) -> dict[str, Mapping[str, float]]:
    """Accuracy by language before and after: of the base, the reference and the best trial.

    Where the final comparison has been made, it is what that has measured: of the best trial, the
    mean over its runs with other seeds, all of which are trained to the last epoch.
    """
    if (decided := outcomes.decided) is not None:
        rows = {row.trial: row.by_language for row in decided.rows}
        found = outcomes.reference_trial()
        names: dict[int | None, str] = {None: "the untouched base"}
        if found is not None:
            names[found.trial] = "the reference"
        names.setdefault(decided.trial, f"trial {decided.trial}, the best")
        return {name: rows[trial] for trial, name in names.items() if trial in rows}
    best, reference, untouched = outcomes.best(), outcomes.reference(), outcomes.untouched
    series: dict[str, Mapping[str, float]] = {}
    if untouched is not None:
        series["the untouched base"] = untouched.by_language
    if reference is not None:
        series["the reference"] = reference.by_language
    if best is not None and not best.reference:
        series[f"trial {best.trial}, the best"] = best.by_language
    return series


def compared_on(outcomes: Outcomes) -> str:
    """Which sentences `compared_scores` is of."""
    return "validation" if outcomes.decided is None else outcomes.decided.split


def format_gain(gain: float) -> str:
    """Write a difference of accuracies with its sign."""
    return f"{gain:+.3f}"
