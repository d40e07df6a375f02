"""Which trial won, by how much, what it costs and what it loses."""

from __future__ import annotations

from search.finals.words import describe_losses, find_row, format_interval
from search.report.section import Cell, ReportedRun, Section, format_gain
from search.report.words import as_sentence, differing_settings, reference_is_best, worse_languages
from search.settings.wording import setting_text

ORDER = 10


def describe(run: ReportedRun) -> Section:
    """Compare the best trial with the reference and with the untouched base."""
    outcomes = run.outcomes
    best, decided = outcomes.best(), outcomes.decided
    is_alone = len(outcomes.by_trial) == 1  # as of `isogloss finetune`
    title = "The model" if is_alone else "The winner"
    if best is None:
        return Section(title, ["No trial has a score."])
    reference, untouched = outcomes.reference(), outcomes.untouched
    sentences = []
    if decided is not None and decided.split == "test":
        measured = format_interval(find_row(decided, best.trial).measured)
        sentences.append(f"On the test sentences, trial {best.trial} reaches {measured}.")
    if decided is not None:
        sentences += map(as_sentence, describe_losses(decided))
    where = " on the validation sentences"
    if decided is None or find_row(decided, best.trial).repeats == (0,):
        stands = "reaches" if is_alone else "is the best, with"
        sentences.append(f"Trial {best.trial} {stands} accuracy {best.accuracy:.3f}{where}.")
    else:
        rank = outcomes.ranked().index(best) + 1
        sentences.append(
            f"In the search, before it was trained anew with other seeds, it stood at rank {rank}, "
            f"with accuracy {best.accuracy:.3f}{where}."
        )
    for name, other in (("the reference", reference), ("the untouched base", untouched)):
        if other is not None and not (best.reference and other is reference):
            gain = format_gain(best.accuracy - other.accuracy)
            also = "" if decided is None else where  # beside sentences about the test
            sentences.append(f"Against {name}{also} ({other.accuracy:.3f}): {gain}.")
    if best.reference:
        sentences.append(as_sentence(reference_is_best(outcomes)))
    sentences.append(
        f"It trains {best.trainable_parameters or 0:,} parameters, and took {best.seconds:.1f} s "
        f"for {best.epochs} epoch{'s' * (best.epochs != 1)}."
    )
    if decided is None and reference is not None:
        worse = [f"{name} ({format_gain(loss)})" for name, loss in worse_languages(outcomes, best)]
        losses = ", ".join(worse) if worse else "none"
        sentences.append(f"Languages worse than the reference: {losses}.")
    sentences += [as_sentence(f"warning: {warning}") for warning in run.warnings]
    rows: list[list[Cell]] = [
        [name, setting_text(value), "not there" if other is None else setting_text(other)]
        for name, value, other in differing_settings(outcomes, best)
    ]
    return Section(title, sentences, columns=["setting", "winner", "reference"], rows=rows)
