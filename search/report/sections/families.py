"""What families of scripts gain."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from search.report.section import Cell, ReportedRun, Section, compared_scores, format_gain

ORDER = 25
TITLE = "Families of scripts"


def describe(run: ReportedRun) -> Section:
    """Average the languages of each family, for the base, the reference and the best trial."""
    outcomes = run.outcomes
    series = compared_scores(outcomes)
    members: dict[str, list[str]] = {}
    for language in outcomes.languages():
        if language in run.families:
            members.setdefault(run.families[language], []).append(language)
    if not series or not members:
        return Section(TITLE, ["No trial has a score, or the run did not record its languages."])
    means = {
        name: {family: _mean(scores, languages) for family, languages in members.items()}
        for name, scores in series.items()
    }
    last = means[next(reversed(means))]
    families = sorted(members, key=lambda family: last[family] or 0.0)
    traces = [
        {"type": "bar", "name": name, "x": families, "y": [by[family] for family in families]}
        for name, by in means.items()
    ]
    layout = {
        "height": 380,
        "barmode": "group",
        "xaxis": {"type": "category"},
        "yaxis": {"title": {"text": "mean accuracy"}, "range": [0, 1.05]},
        "legend": {"orientation": "h", "y": 1.12},
    }
    sentences = ["Mean accuracy of the languages of each family, the weakest family first."]
    before = means.get("the reference", {}).get(families[0])
    worst = last[families[0]]
    best = outcomes.best()
    if before is not None and worst is not None and best is not None and not best.reference:
        sentences.append(
            f"The weakest family, {families[0]} ({', '.join(members[families[0]])}), gains "
            f"{format_gain(worst - before)} over the reference."
        )
    rows: list[list[Cell]] = [
        [family, ", ".join(members[family]), *(by[family] for by in means.values())]
        for family in families
    ]
    return Section(TITLE, sentences, traces, layout, ["family", "languages", *means], rows)


def _mean(scores: Mapping[str, float], languages: list[str]) -> float | None:
    known = [scores[name] for name in languages if name in scores]
    return fmean(known) if known else None
