"""The trials of a search, one after another, as an Optuna study draws them."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterable, Mapping
from itertools import count, islice

import numpy as np
import optuna
from optuna.trial import Trial, TrialState

from search.sampling.compared import ComparedSampler
from search.settings.interface import SamplerConfig
from search.settings.trial import TrialConfig
from search.space.domains import Choice, Domain, Picks, Space, Values, reference
from search.space.first_trials import first_picks
from search.space.grid import MOST_COUNTED, grid, identity, numbers, size

# Why a setting among some values can have no effect; empty where each has one.
Refuse = Callable[[Mapping[str, object]], str]
# After so many draws in a row that are of no use (refused, or had before), one is looked for by
# another way than the sampler's.
MOST_REDRAWN = 30
# Where a space cannot be counted, the search ends after so many random draws of no use.
MOST_RANDOM = 1000


def accept_all(values: Mapping[str, object]) -> str:
    """Refuse no values."""
    return ""


def _sampler(settings: SamplerConfig, number: int, attempt: int) -> optuna.samplers.BaseSampler:
    """The sampler that draws one trial.

    Its random numbers depend on the seed and the trial alone, and not on what was drawn before: so
    a search that goes on after a loss draws what it would have drawn.

    Args:
        number: of the trial.
        attempt: how many draws for it were of no use.
    """
    described = settings.optuna_sampler()
    make: Callable[..., optuna.samplers.BaseSampler] = getattr(optuna.samplers, described.type)
    mixed = np.random.SeedSequence([settings.seed, number, attempt]).generate_state(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = make(seed=int(mixed[0]), **described.arguments)
    return ComparedSampler(sampler) if settings.learns_from_results else sampler


def suggest(trial: Trial, name: str, domain: Domain) -> float:
    """Draw a domain's value: the index of a choice's option, or a range's number."""
    if isinstance(domain, Choice):
        # Optuna warns at options that are no scalars, so it is shown the labels.
        return domain.labels.index(trial.suggest_categorical(name, domain.labels))
    if domain.integer:
        step = int(domain.step or 1)
        return trial.suggest_int(name, int(domain.low), int(domain.high), step=step, log=domain.log)
    return trial.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)


def _encode(domain: Domain, pick: float) -> float | str:
    """A pick as the study records it: a choice's by its label."""
    return domain.labels[int(pick)] if isinstance(domain, Choice) else pick


class TrialGenerator:
    """The trials of a study, one after another: the reference, the other first trials
    (`search.space.first_trials`), then a grid or what is sampled.

    No config comes twice, whatever the sampler says: a draw that had been before, be its trial
    still running, is recorded as failed (with what it repeats) and drawn anew. A sampler may go
    on and on about a config that it likes, so after a few such draws a random one is taken among
    those that are left.

    Args:
        refuse: why a setting among some values can have no effect, or nothing; such values are
            passed over.
    """

    def __init__(
        self, space: Space, settings: SamplerConfig, study: optuna.Study, refuse: Refuse
    ) -> None:
        self._space = space
        self._domains = space.domains()
        self._study = study
        self._refuse = refuse
        self._settings = settings
        self._seen: dict[str, int] = {}
        self._taken: set[int] = set()
        self._reference, self._picks = reference(space)
        self._first = first_picks(space)
        self._grid = grid(space, refuse) if settings.is_exhaustive else None
        self._untried: list[Picks] | None = None

    def _enqueue(self, picks: Mapping[str, float], reference: bool = False) -> None:
        encoded = {name: _encode(self._domains[name], value) for name, value in picks.items()}
        self._study.enqueue_trial(encoded, user_attrs={"reference": reference})

    def next(self) -> tuple[int, Trial, Values] | None:
        """The next trial's number, counted from 0, its record in the study, and its values.

        None where every config of the space has come.
        """
        if 0 not in self._seen.values():
            self._enqueue(self._picks, reference=True)
            trial = self._study.ask()
            for name in self._picks:
                suggest(trial, name, self._domains[name])
            return self._take(trial, self._reference)
        for first in self._first:
            values = self._space.at(first)
            if not self._refuse(values) and _identity(values) not in self._seen:
                self._enqueue(first)
                return self._take(*self._ask())
        if self._grid is None:
            for attempt in range(MOST_REDRAWN):
                self._study.sampler = _sampler(self._settings, self._number(), attempt)
                trial, values = self._ask()
                refused, repeated = self._refuse(values), self._seen.get(_identity(values))
                if not refused and repeated is None:
                    return self._take(trial, values)
                about = ("refused", refused) if refused else ("repeats", repeated)
                trial.set_user_attr(*about)
                self._study.tell(trial, state=TrialState.FAIL)
        picks = self._next_of_grid() if self._grid is not None else self._random_picks()
        if picks is None:
            return None
        self._enqueue(picks)
        return self._take(*self._ask())

    def _ask(self) -> tuple[Trial, Values]:
        trial = self._study.ask()
        return trial, self._space.resolve(lambda name, domain: suggest(trial, name, domain))

    def _take(self, trial: Trial, values: Values) -> tuple[int, Trial, Values]:
        number = self._number()
        self._seen[_identity(values)] = number
        return number, trial, values

    def _number(self) -> int:
        """Of the trial to draw: the first that is free. Of two that run, a loss may hit either."""
        taken = self._taken | set(self._seen.values())
        return next(number for number in count() if number not in taken)

    def skip(self, past: Mapping[int, Mapping[str, object]], taken: Iterable[int]) -> None:
        """Draw none of the trials that were drawn before, by their numbers, and take no such one.

        Args:
            taken: numbers of further trials.
        """
        self._seen |= {_identity(values): number for number, values in past.items()}
        self._taken |= set(taken)

    def _next_of_grid(self) -> Picks | None:
        assert self._grid is not None
        fresh = (picks for values, picks in self._grid if _identity(values) not in self._seen)
        return next(fresh, None)

    def _random_picks(self) -> Picks | None:
        """A config that has not come yet, drawn evenly; None where there is none left."""
        source = random.Random(f"{self._settings.seed} {self._number()}")
        if size(self._space) > MOST_COUNTED:
            for _ in range(MOST_RANDOM):
                picks: Picks = {}

                def pick(name: str, domain: Domain) -> float:
                    picks[name] = _draw_evenly(source, domain)  # noqa: B023
                    return picks[name]  # noqa: B023

                values = self._space.resolve(pick)
                if not self._refuse(values) and _identity(values) not in self._seen:
                    return picks
            return None
        if self._untried is None:
            points = grid(self._space, self._refuse, numbers)
            self._untried = list({_identity(values): picks for values, picks in points}.values())
            random.Random(self._settings.seed).shuffle(self._untried)
        while self._untried:
            picks = self._untried.pop()
            values = self._space.at(picks)
            if _identity(values) not in self._seen:
                return picks
        return None


def _identity(values: Mapping[str, object]) -> str:
    return identity(TrialConfig.of(values))


def _draw_evenly(source: random.Random, domain: Domain) -> float:
    """A domain's value, as `suggest` gives it."""
    if isinstance(domain, Choice):
        return source.randrange(len(domain.options))
    if domain.step is not None or (domain.integer and not domain.log):
        return source.choice(numbers(domain))
    low, high = (math.log(end) if domain.log else end for end in (domain.low, domain.high))
    value = source.uniform(low, high)
    value = min(max(math.exp(value) if domain.log else value, domain.low), domain.high)
    return round(value) if domain.integer else value


def draw(
    space: Space, settings: SamplerConfig, count: int, refuse: Refuse = accept_all
) -> list[dict[str, object]]:
    """Configs that a search would try before it has seen a result: the reference, then others.

    Fewer than ``count`` where the space holds no more.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    generator = TrialGenerator(space, settings, optuna.create_study(), refuse)
    drawn = iter(generator.next, None)
    return [values for _, _, values in islice(drawn, count)]
