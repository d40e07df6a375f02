"""The Optuna study of a search, on disk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from search.events.types import State
from search.sampling.draws import Refuse, TrialGenerator, accept_all
from search.settings.interface import SamplerConfig
from search.settings.trial import Scores, TrialConfig
from search.space.domains import REFERENCE_TRIAL, Choice, Domain, Space


@dataclass(frozen=True)
class PastTrial:
    """A trial that was drawn before, by an earlier command of the same search.

    Attributes:
        number: of the trial in the search.
        values: its config.
        drawn: what was drawn for it: name of a domain -> option's label or number.
        curve: epoch -> metric after it.
        state: None where it is unfinished.
        violations: constraint -> how far it was from being kept (`Constraints.violations`).
        facts: as of `trial_facts`.
    """

    number: int
    values: Mapping[str, object]
    drawn: Mapping[str, object]
    curve: Mapping[int, float]
    state: State | None
    violations: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)


def trial_facts(
    scores: Scores, epochs: int, seconds: float, trainable_parameters: int | None
) -> dict[str, float]:
    """What the study tells of a trial beside its value, as user attributes, for its viewers."""
    return {
        "accuracy": scores.accuracy,
        **{f"accuracy/{language}": score for language, score in scores.by_language.items()},
        "epochs": epochs,
        "seconds": round(seconds, 3),
        **({} if trainable_parameters is None else {"trainable_parameters": trainable_parameters}),
    }


class SearchStudy:
    """The Optuna study of a search: draws its trials, and is told how they went.

    It is a journal file, which optuna-dashboard reads while the search runs. It is written anew
    from the past trials where there are such: what is drawn next depends on them and on the seed,
    and on nothing else.

    Args:
        space: what to draw from; its first trial is the reference.
        settings: kind of sampler, seed, start-up trials.
        log: the journal file.
        name: of the study.
        refuse: as `TrialGenerator` takes it.
        past: the trials drawn before, in the order in which that was.
        taken: numbers that no trial is to have, those of past ones among them.

    Attributes:
        unfinished: number -> record of each past trial that is unfinished.
    """

    def __init__(
        self,
        space: Space,
        settings: SamplerConfig,
        *,
        log: Path,
        name: str,
        refuse: Refuse = accept_all,
        past: Sequence[PastTrial] = (),
        taken: Iterable[int] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        fresh = log.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        study = _create_study(fresh, name)
        domains = space.domains()
        records = {}
        for trial in past:
            study.add_trial(_record(trial, domains))
            records[trial.number] = study.trials[-1]._trial_id
        fresh.replace(log)
        self.study = _load_study(log, name)
        self._draws = TrialGenerator(space, settings, self.study, refuse)
        self._draws.skip({trial.number: trial.values for trial in past}, taken)
        self._reported: set[tuple[int, int]] = set()
        self.unfinished = {}
        for trial in past:
            if trial.state is None:
                record = Trial(self.study, records[trial.number])
                self.unfinished[trial.number] = record
                self._reported |= {(record.number, epoch) for epoch in trial.curve}

    def draw(self) -> tuple[int, Trial, dict[str, object]] | None:
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

    def constrain(self, trial: Trial, violations: Mapping[str, float]) -> None:
        """Record how far a trial that ends is from keeping each constraint.

        TPE draws near the trials that keep all of them, the best ones; the others are to it worse
        than any of these, however good.
        """
        for name, amount in violations.items():
            trial.set_constraint(name, amount)

    def describe(self, trial: Trial, facts: Mapping[str, float]) -> None:
        """Record what is to be seen beside the value of a trial that ends."""
        for name, value in facts.items():
            trial.set_user_attr(name, value)

    def finish(self, trial: Trial, value: float) -> None:
        """Record a trial that ran to its last epoch."""
        self.study.tell(trial, value)

    def stop(self, trial: Trial) -> None:
        """Record a trial that was stopped early, with its intermediate values."""
        self.study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: Trial) -> None:
        """Record a trial that failed."""
        self.study.tell(trial, state=TrialState.FAIL)


def _create_study(log: Path, name: str) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(log)))
    return optuna.create_study(storage=storage, study_name=name, direction="maximize")


def _load_study(log: Path, name: str) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(log)))
    return optuna.load_study(storage=storage, study_name=name)


def _record(trial: PastTrial, domains: Mapping[str, Domain]) -> FrozenTrial:
    """A past trial as the study had it."""
    states = {
        "finished": TrialState.COMPLETE,
        "stopped": TrialState.PRUNED,
        "failed": TrialState.FAIL,
        None: TrialState.RUNNING,
    }
    scored = trial.curve and trial.state in ("finished", "stopped")
    facts: dict[str, object] = {"reference": True} if trial.number == REFERENCE_TRIAL else {}
    record = optuna.trial.create_trial(
        state=states[trial.state],
        value=trial.curve[max(trial.curve)] if scored else None,
        params=dict(trial.drawn),
        distributions={name: _distribution(domains[name]) for name in trial.drawn},
        user_attrs=facts | dict(trial.facts),
        intermediate_values=dict(trial.curve),
    )
    for name, amount in trial.violations.items() if trial.state is not None else ():
        record.set_constraint(name, amount)
    return record


def _distribution(domain: Domain) -> optuna.distributions.BaseDistribution:
    """What `suggest` draws from."""
    if isinstance(domain, Choice):
        return optuna.distributions.CategoricalDistribution(domain.labels)
    if domain.integer:
        return optuna.distributions.IntDistribution(
            int(domain.low), int(domain.high), step=int(domain.step or 1), log=domain.log
        )
    return optuna.distributions.FloatDistribution(
        domain.low, domain.high, step=domain.step, log=domain.log
    )
