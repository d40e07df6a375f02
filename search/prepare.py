"""Everything that can be read, checked and counted before a search starts anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from components.base import Base, load_skeleton
from components.encoder import assemble, trainable_parameters
from search.data.corpus import Corpus, load_corpora
from search.data.tokens import TokenisedCorpus, tokenise
from search.problems import InputError, Problem
from search.settings import RunConfig
from search.space import Probe, Space, probes
from search.spacefile import load_space
from search.trial import TrialConfig


@dataclass(frozen=True)
class Split:
    """The sentences of a search: tokenised, and those of the validation as text."""

    train: TokenisedCorpus
    validation: TokenisedCorpus
    validation_text: Corpus


@dataclass(frozen=True)
class Prepared:
    """What a search starts from.

    Attributes:
        config: the sections that hold for all trials.
        skeleton: the base without its weights.
    """

    space: Space
    config: RunConfig
    skeleton: Base

    def load(self) -> Split:
        """Load and tokenise the sentences to train on and to validate with.

        Raises:
            InputError: the data are at fault.
        """
        settings = self.config.data
        with self.placing():
            train, validation = load_corpora(settings)
        return Split(
            tokenise(train, settings.pivot, self.skeleton.tokenize),
            tokenise(validation, settings.pivot, self.skeleton.tokenize),
            validation,
        )

    @contextmanager
    def placing(self) -> Iterator[None]:
        """Add to the problems raised inside where their keys were written."""
        try:
            yield
        except InputError as error:
            source = self.space.source
            raise InputError(
                [source.problem(tuple(p.key.split(".")), p.message, p.key) for p in error.problems]
            ) from error

    def trainable_parameters(self, values: Mapping[str, Any]) -> int:
        """Exact number of parameters that a trial trains."""
        return count_parameters(self.skeleton, TrialConfig.of(values))


def prepare(space_file: Path, assignments: Sequence[str] = ()) -> Prepared:
    """Read a space file and hold every one of its options against the base.

    Raises:
        InputError: with every fault found.
    """
    space, config = load_space(space_file, assignments)
    try:
        skeleton = load_skeleton(config.base)
    except ValueError as error:
        place = space.source.problem(("base", "model"), str(error))
        raise InputError([place]) from error
    problems = []
    seen = set()
    for probe in probes(space):
        trial = TrialConfig.of(probe.values)
        parts = (trial.adapter, trial.pooling, trial.head)
        if str(parts) not in seen:
            seen.add(str(parts))
            try:
                count_parameters(skeleton, trial)
            except ValueError as error:
                problems.append(_at(space, probe, str(error)))
        if trial.training.batch_size % config.lane.workers:
            problems.append(
                _at(
                    space,
                    probe,
                    f"training.batch_size is {trial.training.batch_size}; it must be a multiple "
                    f"of lane.workers, {config.lane.workers}",
                )
            )
    if problems:
        raise InputError(problems)
    return Prepared(space, config, skeleton)


def count_parameters(skeleton: Base, trial: TrialConfig) -> int:
    """Exact number of parameters that a trial trains, from its modules on the meta device.

    Raises:
        ValueError: a setting does not fit the base; the message starts with its key.
    """
    with torch.device("meta"):
        encoder = assemble(skeleton, trial.adapter, trial.pooling, trial.head)
        try:
            return trainable_parameters(encoder) + trainable_parameters(trial.loss.build())
        finally:
            encoder.close()


def _at(space: Space, probe: Probe, message: str) -> Problem:
    """A problem at the place its first word, a key, was written in."""
    key = message.split(" ", 1)[0]
    return space.source.problem(probe.origin_of(tuple(key.split("."))), message, key)
