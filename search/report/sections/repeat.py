"""How to repeat the run."""

from __future__ import annotations

from search.report.section import ReportedRun, Section

ORDER = 95


def describe(run: ReportedRun) -> Section:
    """The command, the data and the versions."""
    if not run.facts:
        return Section("How to repeat it", ["The run did not record its command."])
    sentences = [
        "With the same command, data and versions, one lane gives the same leaderboard, apart "
        "from times; with several lanes, the order in which trials end may change what is drawn.",
    ]
    if run.outcomes.best() is not None:
        sentences.append(
            "The best model again: isogloss export RUN --to DIR. That of another trial, as "
            "the search trained it: --trial N."
        )
    rows = [[name, value] for name, value in run.facts.items()]
    return Section("How to repeat it", sentences, columns=["", "value"], rows=rows)
