"""Checks that every setting of a space has an effect in some trial."""

from __future__ import annotations

from collections.abc import Iterator

from components.config import Config
from components.context import Context
from search.settings.problems import Problem
from search.settings.trial import OptimizerConfig, TrainingConfig, TrialConfig
from search.space.conflicts import SECTIONS, conflict, never_effective
from search.space.domains import Space, reference
from search.space.first_trials import start_picks
from search.space.probes import Probe, probes

# What only some trials read -> what these have.
READERS = {
    "optimizer.base_lr": "the adapter 'unfrozen'",
    "optimizer.layer_decay": "the adapter 'unfrozen'",
    "optimizer.adapter_lr": "an adapter that adds weights to the base",
    "optimizer.pooling_lr": "a pooling that learns",
    "optimizer.head_lr": "a head that learns",
    "optimizer.loss_lr": "a loss that learns",
    "training.activation_checkpointing": "an adapter that trains",
}
DEFAULTS: dict[str, type[Config]] = {"optimizer": OptimizerConfig, "training": TrainingConfig}


def without_effect(space: Space, run: Context) -> list[Problem]:
    """Find all settings without effect.

    Args:
        run: the context without sections of a trial.
    """
    problems = list(_never_effective(space, run)) or list(_reference(space, run))
    return [*problems, *_never_read(space), *_starts(space, run)]


def _never_effective(space: Space, run: Context) -> Iterator[Problem]:
    """Find options without effect in every trial that has them.

    An option in conflict with only some others is left to the sampler, which never draws it beside
    them.
    """
    # Case -> section -> value, as text -> the value, and the probe that it is first seen in.
    cases: dict[str | None, dict[str, dict[str, tuple[Config, Probe]]]] = {}
    for probe in probes(space):
        trial = TrialConfig.of(probe.values)
        found = cases.setdefault(trial.case, {section: {} for section in SECTIONS})
        for section, seen in found.items():
            value = getattr(trial, section)
            seen.setdefault(repr(value), (value, probe))
    for found in cases.values():
        values = {
            section: {(section, text): value for text, (value, _) in seen.items()}
            for section, seen in found.items()
        }
        for (section, text), fault in never_effective(values, run):
            yield space.problem(found[section][text][1], fault.key, str(fault))


def _never_read(space: Space) -> Iterator[Problem]:
    """Find settings for parts that no trial of the space has, or has parameters in."""
    trials = [TrialConfig.of(probe.values) for probe in probes(space)]
    never = frozenset.intersection(*(trial.idle for trial in trials))
    for key in sorted(never & set(READERS)):
        section, _, name = key.partition(".")
        default = DEFAULTS[section].model_fields[name].default
        if any(getattr(getattr(trial, section), name) != default for trial in trials):
            message = f"is given, but no trial has {READERS[key]}; it must be left out"
            yield space.problem(next(iter(probes(space))), key, message)


def _starts(space: Space, run: Context) -> Iterator[Problem]:
    """Find settings without effect in the user's starting points."""
    for index, picks in enumerate(start_picks(space)):
        fault = conflict(TrialConfig.of(space.at(picks)), run)
        if fault:
            yield space.source.problem(("search", "start", index), str(fault))


def _reference(space: Space, run: Context) -> Iterator[Problem]:
    """Find a setting without effect in the trial that others are compared with."""
    fault = conflict(TrialConfig.of(reference(space)[0]), run)
    if fault and space.domains():
        message = f"{fault} (in the reference trial, which takes the first of most options)"
        yield space.source.problem(tuple(fault.key.split(".")), message, fault.key)
