"""What each language gains by the best model, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from search.events.types import Interval
from search.report.section import Cell, Json, ReportedRun, Section

ORDER = 13
TITLE = "What each language gains"
NAMES = {"reference": "the reference", "untouched": "the untouched base"}


def describe(run: ReportedRun) -> Section:
    """Draw each language's gain over the reference and over the base, with its 95 % interval."""
    decided = run.outcomes.decided
    gains = {} if decided is None else {
        NAMES[one.other]: one.by_language
        for one in decided.comparisons
        if one.other in NAMES and one.by_language
    }  # fmt: skip
    if decided is None or not gains:
        told = "Gains are told with their intervals once a final comparison has been made."
        return Section(TITLE, [told])
    languages = list(next(iter(gains.values())))
    order = ""
    if all(name in run.tokens for name in languages):
        languages.sort(key=lambda name: run.tokens[name])
        order = ", those of few tokens a sentence first"
    sentences = [
        f"How much trial {decided.trial} is ahead in each language on the {decided.split} "
        f"sentences{order}. A gain whose 95 % interval holds 0 may be chance.",
        *(sentence for name, found in gains.items() for sentence in _verdicts(name, found)),
    ]
    traces: list[Json] = [
        {
            "type": "bar",
            "name": f"against {name}",
            "x": languages,
            "y": [found[one].value for one in languages],
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [found[one].high - found[one].value for one in languages],
                "arrayminus": [found[one].value - found[one].low for one in languages],
            },
        }
        for name, found in gains.items()
    ]
    layout = {
        "height": 400,
        "barmode": "group",
        "xaxis": {"type": "category"},
        "yaxis": {"title": {"text": "gain in accuracy"}},
        "legend": {"orientation": "h", "y": 1.12},
    }
    columns = ["language", "tokens"]
    for name in gains:
        columns += [f"against {name}", "95 % from", "to"]
    rows: list[list[Cell]] = [
        [one, run.tokens.get(one), *(end for found in gains.values() for end in _ends(found[one]))]
        for one in languages
    ]
    return Section(TITLE, sentences, traces, layout, columns, rows)


def _verdicts(name: str, found: Mapping[str, Interval]) -> Iterator[str]:
    """Say in which languages a model is ahead of another, or behind, by more than chance."""
    ahead = [language for language, one in found.items() if one.low > 0]
    behind = [language for language, one in found.items() if one.high < 0]
    for what, languages in (("ahead", ahead), ("behind", behind)):
        listed = ", ".join(languages) or "no language"
        yield f"Against {name}, {what} by more than chance in {listed}."


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high
