"""Space file -> space, with every fault found at once and before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from search.settings.problems import InputError, Problem
from search.space.domains import Range, Space
from search.space.faults import join_alternatives, probe_problems
from search.space.first_trials import start_picks
from search.space.grid import MOST_POINTS, points, size
from search.space.probes import probes
from search.space.run_config import RunConfig
from search.space.source import Source, read
from search.space.tree import TreeBuilder


def load_space(file: Path, assignments: Sequence[str] = ()) -> tuple[Space, RunConfig]:
    """Read a space file.

    Args:
        file: the space file.
        assignments: ``key=value``, in force over what the file says.

    Returns:
        The space, and the run config of its first probe: its sections ``search``, ``lane``,
        ``data`` and ``base`` hold for every trial.

    Raises:
        InputError: with every fault of the file.
    """
    return space_of(read(file, assignments))


def space_of(source: Source) -> tuple[Space, RunConfig]:
    """The same of what has been read.

    Raises:
        InputError: with every fault.
    """
    builder = TreeBuilder(source)
    space = Space(builder.build(), source)
    problems = builder.problems
    configs: list[RunConfig] = []
    ranges = {at: domain for _, domain, at in space.written() if isinstance(domain, Range)}
    for probe in probes(space):
        try:
            configs.append(RunConfig.model_validate(probe.values))
        except ValidationError as error:
            problems += probe_problems(source, probe, error, ranges)
    if configs and configs[0].search.sampler.is_exhaustive:
        problems += list(_no_grid(space)) or _too_large(space, configs[0].search.trials)
    if problems:
        raise InputError(join_alternatives(problems))
    start_picks(space)
    return space, configs[0]


def _no_grid(space: Space) -> Iterator[Problem]:
    """The domains that a grid cannot go through, by their names."""
    for name, domain, origin in space.written():
        try:
            points(domain)
        except ValueError as error:
            yield space.source.problem(origin, str(error), name)


def _too_large(space: Space, trials: int | None) -> list[Problem]:
    """A grid that nobody would train to its end."""
    points = size(space)
    if trials is not None or points <= MOST_POINTS:
        return []
    path = ("search", "sampler", "kind")
    message = (
        f"is 'grid', which has {points:,.0f} combinations here; it must have at most "
        f"{MOST_POINTS:,}, or search.trials must say how many of them to train"
    )
    return [space.source.problem(path, message)]
