"""What the live view, the lines of a log and the tables say in the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from rich.text import Text

from search.events.outcomes import Outcome, Outcomes
from search.finals.words import LEAST_GAIN, losses
from search.settings.trial import TrialConfig, changed_settings, varied_settings

BLOCKS = "▁▂▃▄▅▆▇█"


def label(outcome: Outcome) -> str:
    """What a trial is made of, in a few words."""
    kinds = [_kind(outcome, part) for part in ("pooling", "head", "adapter", "loss")]
    mined = _kind(outcome, "negatives") != "none"
    what = outcome.values.get("case") or "+".join([*kinds, *(["mined"] if mined else [])])
    if outcome.parent is not None:
        return f"{what}, on from trial {outcome.parent}"
    return f"reference: {what}" if outcome.reference else str(what)


def _kind(outcome: Outcome, part: str) -> str:
    section = outcome.values.get(part)
    return str(section["kind"]) if isinstance(section, dict) and "kind" in section else "none"


def as_sentence(text: str) -> str:
    """Words with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def main_rate(outcome: Outcome) -> float | None:
    """The learning rate of most of what a trial trains; None where it cannot be told."""
    config = _config(outcome)
    return None if config is None else config.main_rate


def trains_base(outcome: Outcome) -> bool:
    """Whether a trial trains the base's own weights, whose learning rate is `main_rate` then."""
    config = _config(outcome)
    return config is not None and config.adapter.trains_base


def _config(outcome: Outcome) -> TrialConfig | None:
    """The settings of a trial; None where another version has written them."""
    try:
        return TrialConfig.of(outcome.values)
    except ValidationError:
        return None


def describe(outcome: Outcome) -> str:
    """One trial in a line."""
    what = f"trial {outcome.trial} {outcome.state}"
    if outcome.state == "failed":
        return f"{what} after epoch {outcome.epochs}: {outcome.error} ({label(outcome)})"
    objective = outcome.scores.objective
    also = "" if objective is None else f"objective {objective:.3f}, "
    reached = f"{also}accuracy {outcome.accuracy:.3f}"
    return f"{what} at epoch {outcome.epochs}, {reached} ({label(outcome)})"


def describe_epoch(outcome: Outcome, most: int | None) -> str:
    """The last epoch of a run in a line, with every language, the worst first."""
    seed = f", seed {outcome.repeat}" if outcome.repeat else ""
    of = "" if most is None else f" of {most}"
    languages = sorted(outcome.scores.by_language.items(), key=lambda item: item[1])
    listed = ", ".join(f"{name} {score:.3f}" for name, score in languages)
    return (
        f"trial {outcome.trial}{seed}, epoch {outcome.epochs}{of}: accuracy "
        f"{outcome.scores.accuracy:.3f} ({listed})"
    )


def duration(seconds: float) -> str:
    """Seconds -> "2 min 05 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def gain_text(value: float | None, reference: float | None) -> Text:
    """A gain or loss with its sign, green or red; empty where one of the two is not known."""
    if value is None or reference is None:
        return Text("")
    gain = value - reference
    if abs(gain) < LEAST_GAIN:
        return Text("0.000", "dim")
    return Text(f"{gain:+.3f}", "green" if gain > 0 else "red")


def reference_is_best(outcomes: Outcomes) -> str:
    """Say what it means that the best trial is the reference."""
    if outcomes.decided is not None:
        return "the reference is the best model: no other finalist is significantly better"
    if outcomes.leader() is outcomes.best():
        return "the reference is the best trial: nothing that was tried is better"
    return "the reference is the best of the trials that have ended"


def equal_epoch_gain(outcomes: Outcomes, outcome: Outcome) -> Text:
    """What a trial gains over the reference after as many epochs of it, or its last one.

    Where no trial is the reference, it is the gain over the base without training.
    """
    has_reference = outcomes.reference_trial() is not None
    before = outcomes.reference_after(outcome.epochs) if has_reference else outcomes.untouched
    if before is None or not outcome.has_score:
        return Text("")
    return gain_text(outcome.scores.value, before.value)


def sparkline(curve: Mapping[int, float], most: int = 9) -> str:
    """The last points of a learning curve as blocks, between the least and the largest."""
    points = [curve[epoch] for epoch in sorted(curve)][-most:]
    if len(points) < 2:
        return ""
    low, high = min(points), max(points)
    steps = len(BLOCKS) - 1
    return "".join(BLOCKS[round(steps * (p - low) / ((high - low) or 1.0))] for p in points)


def differing_settings(outcomes: Outcomes, outcome: Outcome) -> list[tuple[str, object, object]]:
    """Settings in which a trial differs from the reference, as of `changed_settings`."""
    reference = outcomes.reference_trial()
    varied = varied_settings(other.values for other in outcomes.by_trial.values())
    return changed_settings(outcome.values, reference.values if reference else {}, varied)


def worse_languages(outcomes: Outcomes, outcome: Outcome) -> Sequence[tuple[str, float]]:
    """Languages in which a trial is worse than the reference, and by how much, the worst first."""
    reference = outcomes.reference()
    return [] if reference is None else losses(outcome.by_language, reference.by_language)
