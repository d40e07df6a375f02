"""What every trial gains or loses in every language."""

from __future__ import annotations

from search.report.section import ReportedRun, Section

ORDER = 20


def describe(run: ReportedRun) -> Section:
    """A heat map of gains over the reference; of accuracies where there is no reference."""
    outcomes = run.outcomes
    ranked = [o for o in outcomes.ranked() if o.by_language and o.state != "failed"]
    if not ranked:
        return Section("Languages by trial", ["No trial has a score."])
    languages = outcomes.languages()
    reference = outcomes.reference()
    base = reference.by_language if reference is not None else {}
    what = "gain over the reference" if base else "accuracy"
    cells = [
        [
            None
            if language not in o.by_language
            else o.by_language[language] - base.get(language, 0)
            for language in languages
        ]
        for o in ranked
    ]
    largest = max((abs(c) for row in cells for c in row if c is not None), default=0) or 1.0
    trace = {
        "type": "heatmap",
        "x": languages,
        "y": [f"trial {o.trial}" for o in ranked],
        "z": cells,
        "zmin": -largest,
        "zmax": largest,
        "colorbar": {"thickness": 12},
    }
    layout = {
        "height": 160 + 22 * len(ranked),
        "yaxis": {"autorange": "reversed", "type": "category", "automargin": True},
        "xaxis": {"type": "category"},
    }
    of_what = f"its {what} on the validation sentences, after the epochs that it trained"
    return Section(
        "Languages by trial",
        [f"Best trial on top; each cell is {of_what}."],
        [trace],
        layout,
        ["trial", *languages],
        [[o.trial, *row] for o, row in zip(ranked, cells, strict=True)],
    )
