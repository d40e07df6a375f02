"""The final comparison in sentences, for the terminal, the model card and the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from search.events.types import FinalComparison, FinalRow, FinalsDecided, Interval, added_by

LEAST_GAIN = 0.0005  # what is less is 0.000
NO_DIFFERENCE = "no significant difference"
MEASURED_ON = {
    "test": "the test sentences, which took no part in training or in any choice",
    "validation": "the validation sentences, which chose it, since none are put aside for a test",
}


def describe_choice(decided: FinalsDecided) -> str:
    """How the best model was chosen, in a sentence or two."""
    chosen = find_row(decided, decided.trial)
    if chosen.violations:
        return (
            f"no finalist keeps the constraints of the search; trial {decided.trial} is nearest to "
            f"it: {', '.join(chosen.violations)}"
        )
    return _describe_score(decided, chosen) + _describe_violations(decided)


def _describe_violations(decided: FinalsDecided) -> str:
    """Which finalists were put back for the constraints, and which the model itself breaks."""
    broken = [f"trial {row.trial} ({', '.join(row.violations)})" for row in decided.rows
              if row.violations]  # fmt: skip
    text = ""
    if broken:
        text += f"; these do not keep the constraints of the search: {', '.join(broken)}"
    if decided.violations:
        text += (
            f"; no run of trial {decided.trial} keeps the constraints of the search by itself, "
            f"though their mean does: of the chosen one, {', '.join(decided.violations)}"
        )
    return text


def _describe_score(decided: FinalsDecided, chosen: FinalRow) -> str:
    """What the best model's runs reach, and why it was taken."""
    first = decided.rows[0]
    runs = len(chosen.repeats)
    if chosen.repeats == (0,):
        return f"trial {decided.trial} is the best on the validation sentences"
    spread = f", {chosen.lowest:.3f} to {chosen.highest:.3f}" if runs > 1 else ""
    reached = (
        f"trial {decided.trial}, trained anew with {runs} other seed{'s' * (runs > 1)}, reaches "
        f"{chosen.validation:.3f} on the validation sentences{spread}"
    )
    if chosen.averaged:
        reached = (
            f"trial {decided.trial}, trained anew with {runs} other seeds, reaches "
            f"{chosen.lowest:.3f} to {chosen.highest:.3f} on the validation sentences, and the "
            f"average of these runs' weights {chosen.validation:.3f}"
        )
    elif chosen.average is not None:
        reached += (
            f", and the average of these runs' weights no more than they do by themselves "
            f"({chosen.average:.3f}), so the best of them is taken"
        )
    if first.trial == decided.trial:
        return f"{reached}; it is the best finalist"
    return (
        f"{reached}; trial {first.trial} reaches {first.validation:.3f}, but there is "
        f"{NO_DIFFERENCE}, and trial {decided.trial} adds fewer parameters to the base "
        f"({added_by(chosen):,} instead of {added_by(first):,})"
    )


def describe_comparisons(decided: FinalsDecided) -> Iterator[str]:
    """The best model against the runner-up, the reference and the base, a sentence each."""
    names = {
        "runner-up": "the runner-up, trial {}",
        "reference": "the reference",
        "untouched": "the base without training",
    }
    reference = next((one.trial for one in decided.comparisons if one.other == "reference"), -1)
    for one in decided.comparisons:
        if one.other == "runner-up" and one.trial == reference:
            continue  # it follows as the reference
        if one.other in names:
            name = names[one.other].format(one.trial)
            yield f"against {name}: {format_interval(one.difference, '+')}{verdict_of(one)}"
        if one.other == "reference":
            yield from describe_losses(decided)
        elif one.trial == decided.rows[0].trial:  # a tie went to the smaller model
            yield _list_losses(decided, one, f"trial {one.trial}")


def losses(after: Mapping[str, float], before: Mapping[str, float]) -> list[tuple[str, float]]:
    """Languages in which one model is worse than another, and by how much, the worst first."""
    gains = [(name, score - before[name]) for name, score in after.items() if name in before]
    return sorted([one for one in gains if one[1] <= -LEAST_GAIN], key=lambda one: one[1])


def describe_losses(decided: FinalsDecided) -> Iterator[str]:
    """The languages in which the best model is worse than the reference, the worst first."""
    for one in decided.comparisons:
        if one.other == "reference":
            yield _list_losses(decided, one, "the reference")


def _list_losses(decided: FinalsDecided, beside: FinalComparison, name: str) -> str:
    """The languages in which the best model is worse than another, with their 95 % intervals."""
    after, before = (
        find_row(decided, trial).by_language for trial in (decided.trial, beside.trial)
    )
    sure: list[str] = []
    unsure: list[str] = []
    for language, loss in losses(after, before):
        found = beside.by_language.get(language)  # a journal of an earlier version has none
        ends = "" if found is None else f", {found.low:+.3f} to {found.high:+.3f}"
        may_be_chance = found is not None and found.high >= 0
        (unsure if may_be_chance else sure).append(f"{language} ({loss:+.3f}{ends})")
    told = f"worse than {name} in {', '.join(sure) if sure else 'no language'}"
    return f"{told}; lower, which may be chance, in {', '.join(unsure)}" if unsure else told


def verdict_of(comparison: FinalComparison) -> str:
    """What an interval says that is easily overlooked; empty where it speaks for the best model."""
    if not comparison.is_significant:
        return f", {NO_DIFFERENCE}"
    return "" if comparison.difference.value > 0 else ", significantly worse"


def against_best(decided: FinalsDecided, trial: int | None) -> str:
    """How a model stands to the best one, in a few words; empty where they were not compared."""
    if trial == decided.trial:
        return "best"
    for one in decided.comparisons:
        if one.trial == trial:
            if not one.is_significant:
                return NO_DIFFERENCE
            return "significantly worse" if one.difference.value > 0 else "significantly better"
    return ""


def format_interval(interval: Interval, sign: str = "") -> str:
    """A value with its 95 % interval."""
    low, high = (f"{end:{sign}.3f}" for end in (interval.low, interval.high))
    return f"{interval.value:{sign}.3f} (95 % interval {low} to {high})"


def find_row(decided: FinalsDecided, trial: int | None) -> FinalRow:
    """The row of a model that was compared."""
    return next(row for row in decided.rows if row.trial == trial)
