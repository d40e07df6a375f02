"""Everything that can be read, checked and counted before a search starts anything."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from components.base import Base, load_skeleton
from components.context import Context
from components.errors import SettingError
from components.other_model import OtherModel
from search.data.split import Split, load_split
from search.data.teachers import load_teacher
from search.data.tokens import TokenisedCorpus
from search.features import FeaturePlan
from search.runs.feature_plan import plan_features
from search.runs.parameter_count import count_parameters
from search.settings.problems import InputError
from search.settings.trial import TrialConfig, flatten
from search.space.conflicts import conflict
from search.space.domains import Space
from search.space.file import load_space
from search.space.grid import Distinct, distinct
from search.space.probes import probes
from search.space.run_config import RunConfig
from search.space.without_effect import without_effect
from search.training.session import SessionSettings


@dataclass(frozen=True)
class Prepared:
    """What a search starts from.

    Attributes:
        config: the sections that hold for all trials.
        skeleton: the base without its weights.
        split: the sentences.
        others: the further models that trials may ask for, teachers and finders of negatives, and
            the widths of their embeddings.
        began: when all this had been read, in seconds since 1970.
    """

    space: Space
    config: RunConfig
    skeleton: Base
    split: Split
    others: Mapping[OtherModel, int]
    began: float = field(default_factory=time.time)

    @cached_property
    def trials(self) -> int:
        """How many there are to be: no config is trained twice, so no more than are distinct."""
        found = self._distinct
        return int(min(self._wanted, found.count) if found.complete else self._wanted)

    @property
    def too_few(self) -> str:
        """A sentence, where the space holds fewer configs than trials were asked for."""
        count = self._distinct.count
        if not self._distinct.complete or count >= self._wanted or self._wanted == math.inf:
            return ""
        return (
            f"the space holds {count} distinct config{'s' * (count > 1)}, the reference among "
            f"them, fewer than the {self._wanted} trials asked for (search.trials)"
        )

    @property
    def repeats(self) -> str:
        """A sentence, where several combinations of options are one and the same config."""
        repeats = self._distinct.repeats
        if not repeats or not self._distinct.complete:
            return ""
        return (
            f"{repeats} combination{'s' * (repeats > 1)} of the space come{'s' * (repeats == 1)} "
            f"to the same config as another; each config is trained once"
        )

    def ended_early(self, trials: int) -> str:
        """A sentence, where a search ran to its end with fewer trials than were asked for."""
        if self.too_few:
            return f"{self.too_few}; all were tried"
        if trials < self.trials:
            return (
                f"the search ended after {trials} of {self.trials} trials: no further config that "
                f"differs from these was found in the space"
            )
        return ""

    @property
    def _wanted(self) -> float:
        """What `search.trials` says."""
        search = self.config.search
        return search.trials or search.sampler.default_trials or math.inf

    @cached_property
    def _distinct(self) -> Distinct:
        """Distinct configs, counted as far as they are wanted; and whether these are all."""
        most = None if self._wanted == math.inf else int(self._wanted) + 1
        return distinct(self.space, self.conflict, most)

    @cached_property
    def features(self) -> FeaturePlan:
        """What the search stores of the base's frozen layers."""
        return plan_features(self.space, self.config, self.skeleton, self.split, self.trials)

    @property
    def session(self) -> SessionSettings:
        """What each process that trains trials is set up by."""
        config = self.config
        return SessionSettings(
            base=config.base,
            cache=config.cache,
            features=self.features,
            training=config.training,
            max_epochs=config.search.scheduler.max_epochs,
            rung_epochs=config.search.scheduler.grace_epochs,
            pivot=config.data.pivot,
            scoring=config.search.scoring,
            began=self.began,
        )

    def placing(self) -> AbstractContextManager[None]:
        """Add to the problems raised inside where their keys were written."""
        return placing(self.space)

    @property
    def context(self) -> Context:
        """The facts of the run that a trial's settings must fit."""
        return context_of(self.skeleton, self.split, self.config)

    def conflict(self, values: Mapping[str, object]) -> str:
        """Say which setting of a trial can have no effect; empty where each has one."""
        return str(conflict(TrialConfig.of(values), self.context) or "")

    def refuse(self, values: Mapping[str, object]) -> str:
        """Say why a trial is not to be trained; empty where it is.

        A setting of it can have no effect, or it has more parameters than ``max_parameters``.
        """
        search = self.config.search
        if (reason := self.conflict(values)) or search.max_parameters is None:
            return reason
        parameters = self.trainable_parameters(values)
        if parameters <= search.max_parameters:  # exactly, where a ranking allows for rounding
            return ""
        return f"search.max_parameters is {search.max_parameters:,}, but it trains {parameters:,}"

    def trainable_parameters(self, values: Mapping[str, object]) -> int:
        """Exact number of parameters that a trial trains."""
        families = self.split.train.families
        return count_parameters(self.skeleton, TrialConfig.of(values), families, self.others)


def prepare(space_file: Path, assignments: Sequence[str] = ()) -> Prepared:
    """Read a space file and hold every one of its options against the base and the sentences.

    Raises:
        InputError: with every fault found.
    """
    return prepare_space(*load_space(space_file, assignments))


def prepare_space(space: Space, config: RunConfig) -> Prepared:
    """The same of a space that has been read.

    Raises:
        InputError: with every fault found.
    """
    return check_space(space, config, *load_parts(space, config))


def load_parts(space: Space, config: RunConfig) -> tuple[Base, Split]:
    """Load the base without its weights, and the sentences as its tokenizer cuts them.

    Raises:
        InputError: one of them is at fault.
    """
    try:
        skeleton = load_skeleton(config.base)
    except ValueError as error:
        key = "base.revision" if str(error).startswith("base.revision ") else "base.model"
        place = space.source.problem(tuple(key.split(".")), str(error))
        raise InputError([place]) from error
    with placing(space):
        return skeleton, load_split(config.data, skeleton, config.cache)


def check_space(space: Space, config: RunConfig, skeleton: Base, split: Split) -> Prepared:
    """Hold every option of a space against the base and the sentences.

    Raises:
        InputError: with every fault found.
    """
    families = split.train.families
    problems = []
    seen = set()
    others: dict[OtherModel, int] = {}
    for probe in probes(space):
        trial = TrialConfig.of(probe.values)
        for model in (*trial.teachers, *([trial.miner] if trial.miner else [])):
            if model not in others:
                others[model] = 1  # until it is known, or for ever where it cannot be loaded
                try:
                    others[model] = load_teacher(model).get_embedding_dimension() or 1
                except ValueError as error:
                    asked = {key: probe.values.get(key, {}) for key in ("loss", "negatives")}
                    key = next(key for key, value in flatten(asked).items() if value == model.name)
                    problems.append(space.problem(probe, key, f"{key} {error}"))
        parts = (trial.adapter, trial.pooling, trial.head, trial.loss)
        if str(parts) not in seen:
            seen.add(str(parts))
            try:
                count_parameters(skeleton, trial, families, others)
            except SettingError as error:
                problems.append(space.problem(probe, error.key, str(error)))
        wrong_batch = _wrong_batch(trial, split.train, config.lane.workers)
        if wrong_batch:
            problems.append(space.problem(probe, wrong_batch.key, str(wrong_batch)))
    context = context_of(skeleton, split, config)
    for section in (config.search.objective, config.search.constraints):
        if fault := section.incompatibility(context):
            place = tuple(fault.key.split("."))
            problems.append(space.source.problem(place, str(fault), fault.key))
    problems += without_effect(space, context)
    if problems:
        raise InputError(problems)
    return Prepared(space, config, skeleton, split, others)


def context_of(skeleton: Base, split: Split, config: RunConfig) -> Context:
    """Gather the facts of a run that a trial's settings must fit."""
    return Context(
        skeleton.width,
        skeleton.causal,
        split.train.families,
        workers=config.lane.workers,
        languages=[name for name in split.train.languages if name != config.data.pivot],
    )


def _wrong_batch(trial: TrialConfig, corpus: TokenisedCorpus, workers: int) -> SettingError | None:
    """Why an epoch holds not a single batch, or workers cannot share one; None where they can."""
    key, training = "training.batch_size", trial.training
    batch = training.batch_size
    pairs = corpus.pair_count
    if batch > pairs:
        return SettingError(
            key,
            f"is {batch}, but there are {pairs} pairs to train on",
            "be at most that, or the data hold more",
        )
    if training.pairs_per_epoch is not None and batch > training.pairs_per_epoch:
        must = f"be at most training.pairs_per_epoch, {training.pairs_per_epoch}"
        return SettingError(key, f"is {batch}", must)
    if batch % workers:
        return SettingError(key, f"is {batch}", f"be a multiple of lane.workers, {workers}")
    return None


@contextmanager
def placing(space: Space) -> Iterator[None]:
    """Add to the problems raised inside where their keys were written."""
    try:
        yield
    except InputError as error:
        source = space.source
        raise InputError(
            [source.problem(tuple(p.key.split(".")), p.message, p.key) for p in error.problems]
        ) from error
