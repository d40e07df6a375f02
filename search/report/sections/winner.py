"""Which trial won, by how much, what it costs and what it loses."""

from __future__ import annotations

from search.report.section import Cell, ReportedRun, Section, format_gain
from search.settings.trial import flatten

ORDER = 10


def describe(run: ReportedRun) -> Section:
    """Compare the best trial with the reference and with the untouched base."""
    outcomes = run.outcomes
    best = outcomes.best()
    if best is None:
        return Section("The winner", ["No trial has a score."])
    reference, untouched = outcomes.reference(), outcomes.untouched
    sentences = [f"Trial {best.trial} is the best, with accuracy {best.accuracy:.3f}."]
    for name, other in (("the reference", reference), ("the untouched base", untouched)):
        if other is not None and not (best.reference and other is reference):
            gain = format_gain(best.accuracy - other.accuracy)
            sentences.append(f"Against {name} ({other.accuracy:.3f}): {gain}.")
    if best.reference:
        sentences.append("It is the reference itself: no variant did better.")
    sentences.append(
        f"It trains {best.trainable_parameters or 0:,} parameters, and took {best.seconds:.1f} s "
        f"for {best.epochs} epochs."
    )
    if reference is not None:
        worse = [
            f"{language} ({format_gain(score - reference.by_language[language])})"
            for language, score in best.by_language.items()
            if language in reference.by_language and score < reference.by_language[language]
        ]
        losses = ", ".join(worse) if worse else "none"
        sentences.append(f"Languages worse than the reference: {losses}.")
    own = next((flatten(o.values) for o in outcomes.by_trial.values() if o.reference), {})
    rows: list[list[Cell]] = [
        [name, _written(value), _written(own[name]) if name in own else "not there"]
        for name, value in flatten(best.values).items()
        if name not in own or own[name] != value
    ]
    return Section("The winner", sentences, columns=["setting", "winner", "reference"], rows=rows)


def _written(value: object) -> str:
    """Write a setting, a fraction with as many digits as matter."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
