"""What components and parameters do to the score."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from search.events.outcomes import Outcomes
from search.report.effects import effects
from search.report.section import Cell, ReportedRun, Section, format_gain

ORDER = 40
TITLE = "What components and parameters do"
MOST = 15  # parameters in the chart


def describe(run: ReportedRun) -> Section:
    """Compare options at the first rung, which all trials reach, and at later ones."""
    curves = [o.curve for o in run.outcomes.by_trial.values() if o.curve]
    first = run.rungs[0] if run.rungs else min((max(curve) for curve in curves), default=0)
    measured = effects(run.outcomes, first) if first else []
    if not measured:
        return Section(TITLE, ["Not enough trials have a score to compare options."])
    epochs = f"{first} epoch{'s' * (first > 1)}"
    later = [e for e in [*run.rungs[1:], run.max_epochs] if e > first]
    sentences = [
        f"The mean score of the best option of each parameter less that of its worst, after "
        f"{epochs}, which every trial trained: trials that were stopped "
        f"later count as much as those that finished. A parameter that exists only beside an "
        f"option is compared among the trials with that option. The sampler draws more of what "
        f"does well, and other parameters differ too: an effect of few trials may be chance.",
    ]
    top = next((effect for effect in measured if effect.is_repeated), measured[0])
    best, worst = top.options[0], top.options[-1]
    seen = "seen in several trials" if top.is_repeated else "of single trials, which may be chance"
    sentences.append(
        f"The largest effect {seen}: {top.name}, {best.name} ({best.mean:.3f}, "
        f"{_count(len(best.values))}) against {worst.name} ({worst.mean:.3f}, "
        f"{_count(len(worst.values))}): {format_gain(top.size)}."
    )
    shown = measured[:MOST]
    trace = {
        "type": "bar",
        "orientation": "h",
        "y": [effect.name for effect in shown],
        "x": [effect.size for effect in shown],
        "text": [f"{e.options[0].name} over {e.options[-1].name}" for e in shown],
        "textposition": "auto",
        "marker": {
            "color": ["#2166ac" if effect.is_repeated else "#92a9bd" for effect in shown],
        },
        "hovertemplate": "%{y}: %{x:.3f}<br>%{text}<extra></extra>",
    }
    layout = {
        "height": 120 + 28 * len(shown),
        "yaxis": {"autorange": "reversed", "automargin": True, "type": "category"},
        "xaxis": {"title": {"text": f"difference of means after {epochs}"}},
    }
    if not all(effect.is_repeated for effect in shown):
        sentences.append("Pale bars: the best or the worst option has one trial only.")
    columns = ["parameter", "option", f"after {first}: trials", "mean", "best"]
    for epoch in later:
        columns += [f"after {epoch}: trials", "mean"]
    rows: list[list[Cell]] = []
    for effect in measured:
        for option in effect.options:
            row: list[Cell] = [effect.name, option.name, len(option.values), option.mean]
            row.append(max(option.values.values()))
            for epoch in later:
                row += _at(run.outcomes, epoch, option.values)
            rows.append(row)
    return Section(TITLE, sentences, [trace], layout, columns, rows)


def _at(outcomes: Outcomes, epoch: int, trials: Iterable[int]) -> list[Cell]:
    """Trials of an option that went on to a later epoch, and their mean there."""
    curves = (outcomes.by_trial[trial].curve for trial in trials)
    values = [curve[epoch] for curve in curves if epoch in curve]
    return [len(values), fmean(values) if values else None]


def _count(trials: int) -> str:
    return f"{trials} trial{'s' * (trials != 1)}"
