"""What a setting does to the score, over all trials that have it, at an epoch they all reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from pydantic import JsonValue, ValidationError

from search.events.outcomes import Outcome, Outcomes
from search.settings.trial import TrialConfig, flatten
from search.settings.wording import setting_text

MOST_OPTIONS = 12  # of a parameter that is not a number: beyond, it tells trials apart
LEAST_NUMBERS = 5  # distinct numbers that are split into halves instead of listed


@dataclass(frozen=True)
class Option:
    """Some of a parameter's values.

    Attributes:
        name: what they are.
        values: trial's number -> its score at the epoch.
    """

    name: str
    values: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean score."""
        return fmean(self.values.values())


@dataclass(frozen=True)
class Effect:
    """A parameter and what it does.

    Attributes:
        name: dotted; of one that exists only beside an option, with that in it.
        options: its values, by their mean score, the best first.
    """

    name: str
    options: tuple[Option, ...]

    @property
    def size(self) -> float:
        """Mean score of the best option less that of the worst."""
        return self.options[0].mean - self.options[-1].mean

    @property
    def is_repeated(self) -> bool:
        """Whether its best and its worst option have several trials each."""
        return all(len(self.options[end].values) > 1 for end in (0, -1))


def effects(outcomes: Outcomes, epoch: int) -> list[Effect]:
    """Measure every parameter that varies: those seen repeatedly first, then by their effect.

    All trials that have trained that long count, those that were stopped later too, with what they
    scored then: of trials that finished alone, one would see what the scheduler has let through. A
    parameter that exists only beside an option is compared among the trials with that option.
    Averages over what the sampler drew: other parameters may differ too.
    """
    reached = [o for o in outcomes.by_trial.values() if epoch in o.curve]
    settings = {o.trial: _parameters(o) for o in reached}
    scores = {o.trial: o.curve[epoch] for o in reached}
    found = []
    for name in dict.fromkeys(name for values in settings.values() for name in values):
        having = {trial: values[name] for trial, values in settings.items() if name in values}
        options = _options(having, scores)
        if len(options) > 1:
            options.sort(key=lambda option: -option.mean)
            found.append(Effect(name, tuple(options)))
    return sorted(found, key=lambda effect: (not effect.is_repeated, -effect.size))


def _options(having: Mapping[int, JsonValue], scores: Mapping[int, float]) -> list[Option]:
    """The values of a parameter; many numbers as those up to their median and those above."""
    numbers = {
        trial: float(value)
        for trial, value in having.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if len(numbers) == len(having) and len(set(numbers.values())) >= LEAST_NUMBERS:
        middle = median(numbers.values())
        low = {t: scores[t] for t, v in numbers.items() if v <= middle}
        high = {t: scores[t] for t, v in numbers.items() if v > middle}
        names = f"up to {middle:.3g}", f"above {middle:.3g}"
        return [Option(n, part) for n, part in zip(names, (low, high), strict=True) if part]
    groups: dict[str, dict[int, float]] = {}
    for trial, value in having.items():
        groups.setdefault(str(value), {})[trial] = scores[trial]
    if len(groups) > MOST_OPTIONS:
        return []
    return [Option(setting_text(having[min(part)]), part) for part in groups.values()]


def _parameters(outcome: Outcome) -> dict[str, JsonValue]:
    """What was drawn for a trial, or all its settings, but for those without effect in it."""
    values = outcome.drawn or flatten(outcome.values)
    try:
        idle: Sequence[str] = sorted(TrialConfig.model_validate(outcome.values).idle)
    except ValidationError:
        idle = ()
    return {name: _plain(value) for name, value in values.items() if name not in idle}


def _plain(value: object) -> JsonValue:
    return value if isinstance(value, str | int | float | bool) else str(value)
