"""How accuracy grows with the epochs."""

from __future__ import annotations

from search.report.section import ReportedRun, Section

ORDER = 30
MOST_NAMED = 12  # trials in a legend; of more, each says what it is where the mouse is on it


def describe(run: ReportedRun) -> Section:
    """A line a trial; where a line ends early, the trial was stopped, failed or is unfinished."""
    outcomes = run.outcomes
    ranked = [o for o in outcomes.ranked() if o.curve]
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": f"trial {o.trial}",
            "x": sorted(o.curve),
            "y": [o.curve[epoch] for epoch in sorted(o.curve)],
        }
        for o in ranked
    ]
    layout = {
        "height": 420,
        "showlegend": len(traces) <= MOST_NAMED,
        "xaxis": {"title": {"text": "epoch"}, "dtick": 1},
        "yaxis": {"title": {"text": "accuracy"}},
    }
    rows = [
        [o.trial, o.state or "unfinished", e, o.curve[e]] for o in ranked for e in sorted(o.curve)
    ]
    return Section(
        "Learning curves", [], traces, layout, ["trial", "state", "epoch", "accuracy"], rows
    )
