"""The Optuna study of a search. The only file that knows Optuna."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from search.settings.interface import SamplerConfig
from search.settings.trial import TrialConfig
from search.space.domains import Choice, Domain, Space, reference
from search.space.first_trials import first_picks
from search.space.grid import MOST_COUNTED, grid, identity, numbers, size

Refuse = Callable[[Mapping[str, Any]], str]
# After so many draws in a row that are of no use (refused, or had before), one is looked for by
# another way than the sampler's.
MOST_REDRAWN = 30
# Where a space cannot be counted, the search ends after so many random draws of no use.
MOST_RANDOM = 1000


class SearchStudy:
    """The Optuna study of a search: draws its trials, and is told how they went.

    It is a journal file, which optuna-dashboard reads while the search runs.

    Args:
        space: what to draw from; its first trial is the reference.
        settings: kind of sampler, seed, start-up trials.
        log: the journal file.
        name: of the study.
        refuse: as `Draws` takes it.
    """

    def __init__(
        self,
        space: Space,
        settings: SamplerConfig,
        *,
        log: Path,
        name: str,
        refuse: Refuse = lambda values: "",
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(log))),
            study_name=name,
            direction="maximize",
            sampler=_sampler(settings),
        )
        self._draws = Draws(space, settings, self.study, refuse)
        self._reported: set[tuple[int, int]] = set()

    def draw(self) -> tuple[int, Trial, dict[str, Any]] | None:
        """Draw a trial: its number, its record, its config; None where every config has come."""
        drawn = self._draws.next()
        if drawn is None:
            return None
        number, trial, values = drawn
        return number, trial, TrialConfig.of(values).plain()

    def report(self, trial: Trial, epoch: int, value: float) -> None:
        """Record the metric after an epoch; what is said again is recorded once."""
        if math.isfinite(value) and (trial.number, epoch) not in self._reported:
            self._reported.add((trial.number, epoch))
            trial.report(value, step=epoch)

    def finish(self, trial: Trial, value: float) -> None:
        """Record a trial that ran to its last epoch."""
        self.study.tell(trial, value)

    def stop(self, trial: Trial) -> None:
        """Record a trial that was stopped early, with its intermediate values.

        TPE ranks it by the step that it reached, and by its value there.
        """
        self.study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: Trial) -> None:
        """Record a trial that failed."""
        self.study.tell(trial, state=TrialState.FAIL)


def _sampler(settings: SamplerConfig) -> optuna.samplers.BaseSampler:
    described = settings.optuna_sampler()
    make: type[optuna.samplers.BaseSampler] = getattr(optuna.samplers, described.type)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return make(seed=settings.seed, **described.arguments)


def suggest(trial: Trial, name: str, domain: Domain) -> Any:
    """Draw a domain's value: the index of a choice's option, or a range's number."""
    if isinstance(domain, Choice):
        # Optuna warns at options that are no scalars, so it is shown the labels.
        return domain.labels.index(trial.suggest_categorical(name, domain.labels))
    if domain.integer:
        step = int(domain.step or 1)
        return trial.suggest_int(name, int(domain.low), int(domain.high), step=step, log=domain.log)
    return trial.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)


def _encode(domain: Domain, value: Any) -> Any:
    return domain.labels[value] if isinstance(domain, Choice) else value


class Draws:
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
        self._seen: dict[str, int] = {}
        self._reference, self._picks = reference(space)
        self._enqueue(self._picks, reference=True)
        self._first = first_picks(space)
        self._grid = grid(space, refuse) if settings.is_exhaustive else None
        self._random = random.Random(settings.seed)
        self._untried: list[dict[str, Any]] | None = None

    def _enqueue(self, picks: Mapping[str, Any], reference: bool = False) -> None:
        encoded = {name: _encode(self._domains[name], value) for name, value in picks.items()}
        self._study.enqueue_trial(encoded, user_attrs={"reference": reference})

    def next(self) -> tuple[int, Trial, dict[str, Any]] | None:
        """The next trial's number, counted from 0, its record in the study, and its values.

        None where every config of the space has come.
        """
        if not self._seen:
            trial = self._study.ask()
            for name in self._picks:
                suggest(trial, name, self._domains[name])
            return self._take(trial, self._reference)
        for first in self._first:
            values = self._space.resolve(lambda name, _, first=first: first[name])  # type: ignore[misc]
            if not self._refuse(values) and _identity(values) not in self._seen:
                self._enqueue(first)
                return self._take(*self._ask())
        if self._grid is None:
            for _ in range(MOST_REDRAWN):
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

    def _ask(self) -> tuple[Trial, dict[str, Any]]:
        trial = self._study.ask()
        return trial, self._space.resolve(lambda name, domain: suggest(trial, name, domain))

    def _take(self, trial: Trial, values: dict[str, Any]) -> tuple[int, Trial, dict[str, Any]]:
        number = len(self._seen)
        self._seen[_identity(values)] = number
        return number, trial, values

    def _next_of_grid(self) -> dict[str, Any] | None:
        assert self._grid is not None
        fresh = (picks for values, picks in self._grid if _identity(values) not in self._seen)
        return next(fresh, None)

    def _random_picks(self) -> dict[str, Any] | None:
        """A config that has not come yet, drawn evenly; None where there is none left."""
        if size(self._space) > MOST_COUNTED:
            for _ in range(MOST_RANDOM):
                picks: dict[str, Any] = {}

                def pick(name: str, domain: Domain) -> Any:
                    picks[name] = _draw_evenly(self._random, domain)  # noqa: B023
                    return picks[name]  # noqa: B023

                values = self._space.resolve(pick)
                if not self._refuse(values) and _identity(values) not in self._seen:
                    return picks
            return None
        if self._untried is None:
            points = grid(self._space, self._refuse, numbers)
            self._untried = list({_identity(values): picks for values, picks in points}.values())
            self._random.shuffle(self._untried)
        while self._untried:
            picks = self._untried.pop()
            values = self._space.resolve(lambda name, _, picks=picks: picks[name])  # type: ignore[misc]
            if _identity(values) not in self._seen:
                return picks
        return None


def _identity(values: Mapping[str, Any]) -> str:
    return identity(TrialConfig.of(values))


def _draw_evenly(source: random.Random, domain: Domain) -> Any:
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
    space: Space, settings: SamplerConfig, count: int, refuse: Refuse = lambda values: ""
) -> list[dict[str, Any]]:
    """Configs that a search would try before it has seen a result: the reference, then others.

    Fewer than ``count`` where the space holds no more.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    draws = Draws(space, settings, optuna.create_study(sampler=_sampler(settings)), refuse)
    drawn = iter(draws.next, None)
    return [values for _, _, values in islice(drawn, count)]
