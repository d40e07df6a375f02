"""Settings that can have no effect beside each other.

Each config answers for itself whether it fits its context (`Config.incompatibility`); here the
sections of a trial, and of all trials of a space, are asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from components.config import Config
from components.context import Context
from components.errors import SettingError
from search.settings.trial import TrialConfig

# Sections that may differ between trials, in the order in which they are asked.
SECTIONS = ("pooling", "adapter", "head", "negatives", "loss", "training")

Key = TypeVar("Key", bound=Hashable)


def conflict(trial: TrialConfig, run: Context) -> SettingError | None:
    """Find a setting of a trial that can have no effect; None where each has one.

    Args:
        run: the context without sections of a trial.
    """
    context = replace(run, head=trial.head, loss=trial.loss)
    for section in SECTIONS:
        config: Config = getattr(trial, section)
        fault = config.incompatibility(context)
        if fault:
            return fault
    return None


def never_effective(
    values: Mapping[str, Mapping[Key, Config]], run: Context
) -> Iterator[tuple[Key, SettingError]]:
    """Find the values that no trial without a conflict can hold.

    A conflict is a matter of one section, or of two. The pairs of sections that can conflict form
    no circle, so a value with a partner in each section next to its own, which has partners in
    turn, is part of a whole trial (Freuder, 1982, A Sufficient Condition for Backtrack-Free
    Search). Hence pairs of values are compared, never combinations of all sections.

    Args:
        values: section -> its values in the space, by any key.
        run: the context without sections of a trial.

    Yields:
        Key of a value, and the most frequent of its faults. Where no value of a section is left,
        only the faults that led to this are given.
    """
    alive = {section: dict(configs) for section, configs in values.items()}
    found = [
        (section, key, fault)
        for section, configs in values.items()
        for key, config in configs.items()
        if (fault := config.incompatibility(run))
    ]
    for section, key, _ in found:
        del alive[section][key]
    pairs = _compare_pairs(alive, run)
    while True:
        for _, key, fault in found:
            yield key, fault
        found = list(_without_partner(alive, pairs))
        if not found:
            return
        for section, key in {(section, key) for section, key, _ in found}:
            del alive[section][key]


# (section, other section) -> key of a value -> key of a value of the other -> their conflict.
_Pairs = dict[tuple[str, str], dict[Key, dict[Key, SettingError | None]]]


def _compare_pairs(values: Mapping[str, Mapping[Key, Config]], run: Context) -> _Pairs[Key]:
    """Find the conflicts of each value with each of the sections that its config asks about."""
    pairs: _Pairs[Key] = {}
    for section, configs in values.items():
        for key, config in configs.items():
            for other in config.conflicts_with:
                for other_key, other_config in values[other].items():
                    beside: dict[str, Any] = {other: other_config}
                    fault = config.incompatibility(replace(run, **beside))
                    pairs.setdefault((section, other), {}).setdefault(key, {})[other_key] = fault
                    pairs.setdefault((other, section), {}).setdefault(other_key, {})[key] = fault
    return pairs


def _without_partner(
    alive: Mapping[str, Mapping[Key, Config]], pairs: _Pairs[Key]
) -> Iterator[tuple[str, Key, SettingError]]:
    """Find the values in conflict with every value that is left of another section."""
    for (section, other), table in pairs.items():
        for key in alive[section]:
            faults = [table[key][other_key] for other_key in alive[other]]
            known = [fault for fault in faults if fault]
            if known and len(known) == len(faults):
                yield section, key, Counter(known).most_common(1)[0][0]
