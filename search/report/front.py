"""Quality against a cost: every trial, and those that no cheaper one equals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from search.events.outcomes import Outcome, Outcomes
from search.report.section import Cell, Json, Section
from search.report.words import label
from search.settings.trial import Scores

COLOURS = {"finished": "#2166ac", "stopped": "#d98200", "unfinished": "#888888"}
SYMBOLS = {"finished": "circle", "stopped": "diamond", "unfinished": "square"}


def pareto_front(
    trials: Iterable[Outcome], cost: Callable[[Outcome], float], untouched: Scores | None = None
) -> list[Outcome]:
    """Trials that are better than every cheaper or equally cheap one, the cheapest first.

    Args:
        untouched: of the base without training, which costs nothing; None where it is not known.
    """
    front: list[Outcome] = []
    highest = -math.inf if untouched is None else untouched.value
    for outcome in sorted(trials, key=lambda o: (cost(o), -o.scores.value)):
        if outcome.scores.value > highest:
            front.append(outcome)
            highest = outcome.scores.value
    return front


def _amount(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}"


def describe_front(
    outcomes: Outcomes, title: str, what: str, cost: Callable[[Outcome], float], *, log: bool
) -> Section:
    """Draw the score of each trial against a cost.

    Args:
        what: the cost, with its unit.
        cost: of a trial that has trained an epoch.
        log: whether the costs span orders of magnitude; those of 0 are drawn beside the least.
    """
    scored = [o for o in outcomes.ranked() if o.has_score]
    if not scored:
        return Section(title, ["No trial has a score."])
    ended = [o for o in scored if o.state == "finished"]
    untouched = outcomes.untouched
    front = pareto_front(ended, cost, untouched)
    least = min((cost(o) for o in scored if cost(o) > 0), default=1.0)
    nothing = least / 2 if log else 0.0  # where a cost of 0 is drawn

    def place(outcome: Outcome) -> float:
        return cost(outcome) or nothing

    traces: list[Json] = []
    for state, colour in COLOURS.items():
        those = [o for o in scored if (o.state or "unfinished") == state]
        if those:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": state,
                    "x": [place(o) for o in those],
                    "y": [o.scores.value for o in those],
                    "text": [f"trial {o.trial}: {label(o)}" for o in those],
                    "marker": {"size": 10, "color": colour, "symbol": SYMBOLS[state]},
                    "hovertemplate": "%{text}<br>%{x}: %{y:.3f}<extra></extra>",
                }
            )
    if untouched is not None:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "untouched base",
                "x": [nothing],
                "y": [untouched.value],
                "marker": {"size": 11, "color": COLOURS["unfinished"], "symbol": "x"},
                "hovertemplate": "the base without training: %{y:.3f}<extra></extra>",
            }
        )
    if len(front) > 1:
        line = {"color": COLOURS["finished"], "shape": "hv", "dash": "dot"}
        x, y = [place(o) for o in front], [o.scores.value for o in front]
        traces.append(
            {"type": "scatter", "mode": "lines", "name": "front", "x": x, "y": y, "line": line,
             "hoverinfo": "skip"}
        )  # fmt: skip
    layout = {
        "height": 420,
        "xaxis": {"title": {"text": what}, "type": "log" if log else "linear"},
        "yaxis": {"title": {"text": "score"}},
        "legend": {"orientation": "h", "y": 1.12},
    }
    on = ", ".join(f"{o.trial} ({o.scores.value:.3f}, {_amount(cost(o))})" for o in front)
    sentence = "No trial finished."
    if ended and untouched is not None:
        sentence = f"No finished trial is better than the untouched base ({untouched.value:.3f})."
    if front:
        also = "" if untouched is None else f" and than the untouched base ({untouched.value:.3f})"
        sentence = (
            f"The dotted line is the Pareto front: the finished trials that are better than every "
            f"cheaper one{also}. On it, with score and {what}: trial{'s' * (len(front) > 1)} {on}."
        )
    sentences = [sentence]
    kept = {o.trial for o in front}
    rows: list[list[Cell]] = [
        [o.trial, label(o), o.state or "unfinished", o.epochs, _amount(cost(o)), o.scores.value,
         "yes" if o.trial in kept else ""]
        for o in scored
    ]  # fmt: skip
    columns = ["trial", "what", "state", "epochs", what, "score", "on the front"]
    return Section(title, sentences, traces, layout, columns, rows)
