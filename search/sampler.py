"""The Optuna study, as a Ray Tune searcher. The only file that knows Optuna."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState
from ray.tune.search import Searcher

from search.grid import grid
from search.settings import SamplerSettings
from search.space import Choice, Domain, Space, reference
from search.trial import TrialConfig

Refuse = Callable[[Mapping[str, Any]], str]
# After so many draws in a row that can have no effect, the next one is tried, and fails by itself.
MOST_REFUSED = 100
# A trial that has lost so many lanes is at fault itself.
MOST_LOSSES = 2


class StudySearcher(Searcher):
    """Draws trials from a space with Optuna and tells the study how they ended.

    Ray's own OptunaSearch records a trial that ASHA stopped as complete, with the value of its
    small budget, and leaves one that ended in NaN running for ever. Here a stopped trial is PRUNED
    with its intermediate values, which TPE ranks by the step they reached, and a failed one FAIL.

    The study is a journal file, which optuna-dashboard reads while the search runs.

    Args:
        space: what to draw from; its first trial is the reference.
        settings: kind of sampler, seed, start-up trials.
        max_epochs: epochs of a trial that finished.
        metric: key of the result to maximise.
        log: the journal file.
        name: of the study.
        trials: how many to draw; None for as many as are asked for.
        refuse: as `Draws` takes it.
    """

    def __init__(
        self,
        space: Space,
        settings: SamplerSettings,
        *,
        max_epochs: int,
        metric: str,
        log: Path,
        name: str,
        trials: int | None = None,
        refuse: Refuse = lambda values: "",
    ) -> None:
        super().__init__(metric=metric, mode="max")
        self._max_epochs = max_epochs
        self._left = math.inf if trials is None else trials
        self._trials: dict[str, Trial] = {}
        self._orders: dict[str, dict[str, Any]] = {}
        self._lost: list[tuple[Trial, dict[str, Any]]] = []
        self._losses: Counter[int] = Counter()
        self._noted: set[tuple[int, int]] = set()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(log))),
            study_name=name,
            direction="maximize",
            sampler=_sampler(settings),
        )
        self._draws = Draws(space, settings, self._study, refuse)

    @property
    def study(self) -> optuna.Study:
        """The study."""
        return self._study

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A trial: its number, counted from 0, and its config as plain values.

        One that has lost its lane comes again before a new one is drawn. When all have been drawn
        there is none for now, or for good when none is under way that might be lost.
        """
        if self._lost:
            trial, order = self._lost.pop(0)
        elif self._left > 0:
            self._left -= 1
            number, trial, values = self._draws.next()
            order = {"trial": number, "values": TrialConfig.of(values).plain()}
        else:
            finished: str = Searcher.FINISHED
            return None if self._trials else finished
        self._trials[trial_id], self._orders[trial_id] = trial, order
        return order

    def comes_again(self, number: int) -> bool:
        """Whether a trial waits for another lane."""
        return any(order["trial"] == number for _, order in self._lost)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note an intermediate value."""
        value, trial = result.get(self.metric), self._trials[trial_id]
        step = (trial.number, result["epoch"])
        if value is not None and math.isfinite(value) and step not in self._noted:
            self._noted.add(step)  # Tune hands the last result over twice
            trial.report(value, step=result["epoch"])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how a trial ended."""
        if trial_id not in self._trials:
            return
        order = self._orders.pop(trial_id)
        if error and self._losses[order["trial"]] < MOST_LOSSES:
            # Tune itself gives up a trial whose lane dies as it is handed over.
            self._losses[order["trial"]] += 1
            self._lost.append((self._trials.pop(trial_id), order))
            return
        value = (result or {}).get(self.metric)
        if error or result is None or value is None or not math.isfinite(value):
            self._study.tell(self._trials.pop(trial_id), state=TrialState.FAIL)
            return
        self.on_trial_result(trial_id, result)
        if result["epoch"] >= self._max_epochs:
            self._study.tell(self._trials.pop(trial_id), value)
        else:
            self._study.tell(self._trials.pop(trial_id), state=TrialState.PRUNED)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles what it runs with; nothing of this project is ever restored from that."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal file holds all of it."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the journal file holds all of it."""


def _sampler(settings: SamplerSettings) -> optuna.samplers.BaseSampler:
    if settings.kind in ("random", "grid"):  # a grid's points are laid down one by one
        return optuna.samplers.RandomSampler(seed=settings.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=settings.seed,
            n_startup_trials=settings.startup_trials,
            multivariate=True,
            group=True,  # a parameter inside a choice exists only in some trials
            constant_liar=True,  # lanes ask while others still train
        )


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
    """The trials of a study, one after another: the reference, then a grid or what is sampled.

    Args:
        refuse: why a setting among some values can have no effect, or nothing; such values are
            passed over.
    """

    def __init__(
        self, space: Space, settings: SamplerSettings, study: optuna.Study, refuse: Refuse
    ) -> None:
        self._space = space
        self._domains = space.domains()
        self._study = study
        self._refuse = refuse
        self._count = 0
        self._reference, self._picks = reference(space)
        self._enqueue(self._picks, reference=True)
        first = TrialConfig.of(self._reference)
        self._points = (
            picks
            for values, picks in (grid(space, refuse) if settings.kind == "grid" else ())
            if TrialConfig.of(values) != first
        )

    def _enqueue(self, picks: Mapping[str, Any], reference: bool = False) -> None:
        encoded = {name: _encode(self._domains[name], value) for name, value in picks.items()}
        self._study.enqueue_trial(encoded, user_attrs={"reference": reference})

    def next(self) -> tuple[int, Trial, dict[str, Any]]:
        """The next trial's number, counted from 0, its record in the study, and its values."""
        if self._count and (picks := next(self._points, None)) is not None:
            self._enqueue(picks)
        for left in reversed(range(MOST_REFUSED)):
            trial = self._study.ask()
            if trial.user_attrs.get("reference"):
                for name in self._picks:
                    suggest(trial, name, self._domains[name])
                values = self._reference
            else:
                values = self._space.resolve(
                    lambda name, domain, trial=trial: suggest(trial, name, domain)  # type: ignore[misc]
                )
            if not left or trial.user_attrs.get("reference") or not self._refuse(values):
                break
            self._study.tell(trial, state=TrialState.FAIL)
        self._count += 1
        return self._count - 1, trial, values


def draw(
    space: Space, settings: SamplerSettings, count: int, refuse: Refuse = lambda values: ""
) -> list[dict[str, Any]]:
    """Configs that a search would try before it has seen a result: the reference, then others."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    draws = Draws(space, settings, optuna.create_study(sampler=_sampler(settings)), refuse)
    return [draws.next()[2] for _ in range(count)]
