"""Whether languages that the tokenizer cuts into many tokens still lose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from scipy.stats import spearmanr

from search.report.section import Cell, ReportedRun, Section, compared_on, compared_scores

ORDER = 15
SIDES = ("top center", "bottom center")
LEAST_LOSS = 0.01  # of a mean accuracy, before reasons are given


def describe(run: ReportedRun) -> Section:
    """Draw each language's accuracy against its mean tokens a sentence, before and after."""
    outcomes = run.outcomes
    title = "Accuracy against tokens a sentence"
    series = compared_scores(outcomes)
    shown = {name: run.tokens[name] for name in outcomes.languages() if name in run.tokens}
    languages = sorted(shown, key=lambda name: shown[name])
    if not series or not languages:
        return Section(title, ["No trial has a score, or the run did not record tokens."])
    tokens = [shown[name] for name in languages]
    sentences = [
        f"Each point is a language, by the {compared_on(outcomes)} sentences. The rank correlation "
        "is -1 where every language with more tokens a sentence is found less often, and near 0 "
        "where the number of tokens does not matter."
    ]
    for name, by_language in series.items():
        correlation = rank_correlation(tokens, [by_language.get(one) for one in languages])
        if correlation is not None:
            sentences.append(f"Rank correlation of {name}: {correlation:+.2f}.")
    if len(languages) > 1 and outcomes.reference() is not None and len(series) > 1:
        sentences += _compare_halves(languages, *list(series.values())[-2:])
    traces = [
        {
            "type": "scatter",
            "mode": "markers+text" if index == len(series) - 1 else "markers",
            "marker": {"size": 10},
            "name": name,
            "x": tokens,
            "y": [by_language.get(one) for one in languages],
            "text": languages,
            # Neighbours on the axis may lie close to each other.
            "textposition": [SIDES[place % 2] for place in range(len(languages))],
        }
        for index, (name, by_language) in enumerate(series.items())
    ]
    rows: list[list[Cell]] = [
        [name, shown[name], *(by_language.get(name) for by_language in series.values())]
        for name in languages
    ]
    layout = {
        "height": 420,
        "xaxis": {"title": {"text": "mean tokens a sentence"}},
        "yaxis": {"title": {"text": "accuracy"}, "range": [0, 1.05]},
        "legend": {"orientation": "h", "y": 1.1},
    }
    columns = ["language", "tokens", *series]
    return Section(title, sentences, traces, layout, columns, rows)


def _compare_halves(
    languages: Sequence[str], before: Mapping[str, float], after: Mapping[str, float]
) -> Iterator[str]:
    """Say what the languages of few and of many tokens gain.

    Args:
        languages: by their tokens, the fewest first.
    """
    scored = [name for name in languages if name in before and name in after]
    half = len(scored) // 2
    few, many = scored[:half], scored[len(scored) - half :]
    if not half:
        return
    means = [[fmean(scores[n] for n in part) for scores in (before, after)] for part in (few, many)]
    for which, part, (first, last) in zip(("fewest", "most"), (few, many), means, strict=True):
        yield (
            f"Mean accuracy of the languages with the {which} tokens a sentence "
            f"({', '.join(part)}): {first:.3f} before, {last:.3f} after."
        )
    (of_few, few_now), (of_many, many_now) = means
    if of_many < of_few:
        left = few_now - many_now
        now = f"are {left:.3f} behind now" if left > 0 else "no longer are"
        yield f"Those with many tokens were {of_few - of_many:.3f} behind before, and {now}."
    if few_now - of_few <= -LEAST_LOSS:
        yield (
            "Those with the fewest tokens lose. A likely reason is that the base aligns them "
            "already, and that training for the others moves weights which all share. "
            "search.floors says how much a language may lose; a head or an adapter for each family "
            "of scripts (family, family_lora) has weights of its own."
        )


def rank_correlation(x: Sequence[float], y: Sequence[float | None]) -> float | None:
    """Spearman's rank correlation of the pairs that are whole; None where it is not defined."""
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if b is not None]
    if len(pairs) < 3 or any(len({pair[side] for pair in pairs}) < 2 for side in (0, 1)):
        return None
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)
