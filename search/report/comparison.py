"""Runs side by side: what each one found."""

from __future__ import annotations

from collections.abc import Sequence

from search.report.section import Cell, ReportedRun, Section, format_gain
from search.report.words import label
from search.settings.trial import flatten

TITLE = "Side by side"


def compare(runs: Sequence[ReportedRun]) -> Section:
    """Set the best trial of each run beside those of the others, language by language."""
    names = _distinct([run.name for run in runs])
    columns = ["", *names]

    def gain(run: ReportedRun) -> str:
        best, reference = run.outcomes.best(), run.outcomes.reference()
        if best is None or reference is None:
            return ""
        return format_gain(best.accuracy - reference.accuracy)

    found = [run.outcomes.best() for run in runs]
    rows: list[list[Cell]] = [
        ["trials", *(len(run.outcomes.by_trial) for run in runs)],
        ["best trial", *(f"{o.trial}: {label(o)}" if o else None for o in found)],
        ["its accuracy", *(o.accuracy if o else None for o in found)],
        ["its gain over the reference", *map(gain, runs)],
        ["its parameters", *(f"{o.trainable_parameters or 0:,}" if o else None for o in found)],
        ["its seconds", *(o.seconds if o else None for o in found)],
    ]
    languages = list(dict.fromkeys(name for run in runs for name in run.outcomes.languages()))
    rows += [
        [f"accuracy of {name}", *(o.by_language.get(name) if o else None for o in found)]
        for name in languages
    ]
    settings = [flatten(o.values) if o else {} for o in found]
    for key in dict.fromkeys(key for one in settings for key in one):
        values = [one.get(key) for one in settings]
        if len({str(value) for value in values}) > 1:
            rows.append([key, *(None if value is None else str(value) for value in values)])
    sentences = []
    if len({frozenset(run.tokens.items()) for run in runs}) > 1:
        sentences.append("The runs were scored on different sentences: compare with care.")
    traces = [
        {
            "type": "bar",
            "name": name,
            "x": languages,
            "y": [o.by_language.get(language) if o else None for language in languages],
        }
        for name, o in zip(names, found, strict=True)
    ]
    layout = {
        "height": 400,
        "barmode": "group",
        "xaxis": {"type": "category"},
        "yaxis": {"title": {"text": "accuracy of the best trial"}, "range": [0, 1.05]},
        "legend": {"orientation": "h", "y": 1.12},
    }
    return Section(TITLE, sentences, traces, layout, columns, rows)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of runs, numbered where two are the same."""
    return [
        f"{name} ({index})" if names.count(name) > 1 else name
        for index, name in enumerate(names, start=1)
    ]
