"""Trials that failed, and why."""

from __future__ import annotations

from search.report.section import Cell, ReportedRun, Section

ORDER = 90


def describe(run: ReportedRun) -> Section:
    """A row a failed trial."""
    outcomes = run.outcomes
    failed = [o for o in outcomes.by_trial.values() if o.state == "failed"]
    sentence = f"{len(failed)} of {len(outcomes.by_trial)} trials failed."
    rows: list[list[Cell]] = [[o.trial, o.epochs, o.error] for o in failed]
    return Section("Failures", [sentence], columns=["trial", "epochs", "error"], rows=rows)
