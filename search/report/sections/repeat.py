"""How to repeat the run."""

from __future__ import annotations

from search.report.section import ReportedRun, Section

ORDER = 95


def describe(run: ReportedRun) -> Section:
    """The command, the data and the versions."""
    if not run.facts:
        return Section("How to repeat it", ["The run did not record its command."])
    best = run.outcomes.best()
    sentences = [
        "With the same command, data and versions, one lane gives the same leaderboard, apart "
        "from times; with several lanes, the order in which trials end may change what is drawn.",
    ]
    if best is not None and run.facts:
        sentences.append(
            f"The model of trial {best.trial}: python -m search.export RUN --trial {best.trial} "
            f"--to DIR."
        )
    rows = [[name, value] for name, value in run.facts.items()]
    return Section("How to repeat it", sentences, columns=["", "value"], rows=rows)
