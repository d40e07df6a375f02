"""Which checkpoints a run keeps: of its best trials, the reference, and what is unfinished."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from search.events.outcomes import Outcomes
from search.runtime.checkpoints import Checkpoints
from search.runtime.sealing import DamagedError
from search.settings.problems import InputError, shown

TRIALS = "trials"


def checkpoints_of(folder: Path, location: str | None) -> Checkpoints:
    """The checkpoints of the run in a folder.

    Args:
        location: ``search.checkpoints``.

    Raises:
        InputError: ``search.checkpoints`` names no place that can be reached.
    """
    if location is None:
        return Checkpoints(folder / TRIALS)
    # Not by urllib, which makes hdfs:/a of hdfs:///a.
    place, mark, options = location.partition("?")  # of the file system
    try:
        return Checkpoints(f"{place.rstrip('/')}/{folder.name}{mark}{options}")
    except (ValueError, OSError) as error:
        raise _unusable(location, error) from error


def claim(folder: Path, location: str | None) -> Checkpoints:
    """The checkpoints of a new run, whose place must be free and such that one can write there.

    Args:
        location: ``search.checkpoints``.

    Raises:
        InputError: it is not.
    """
    checkpoints = checkpoints_of(folder, location)
    if location is None:
        return checkpoints
    try:
        taken = checkpoints.runs()
        checkpoints.make()
    except OSError as error:
        raise _unusable(location, error) from error
    if taken:
        raise InputError.of(
            "search.checkpoints",
            f"is {shown(location)}, where a run named {folder.name} already has "
            f"checkpoints; it must be another place, or --name another name",
        )
    return checkpoints


def _unusable(location: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError.of(
        "search.checkpoints",
        f"is {shown(location)}, which cannot be used: {shown(reason, 300)}",
    )


class Retention:
    """Removes checkpoints as trials end.

    That of the reference stays, since it is scored again at the end, and so do those of finalists
    with other seeds.

    Args:
        checkpoints: of the trials of a run.
        keep: how many of the best trials that ended keep theirs.
    """

    def __init__(self, checkpoints: Checkpoints, keep: int) -> None:
        self._checkpoints = checkpoints
        self._keep = keep
        self._done: set[tuple[int, int]] = set()
        self._gone: set[tuple[int, int]] = set()

    def apply(self, outcomes: Outcomes) -> None:
        """Remove what is not kept, and shrink what is kept of trials that have ended.

        A checkpoint that is found damaged is left for those who need it to say so. A trial that
        goes on from another one needs that one's until it has ended. Where there are constraints,
        all are kept until the reference has ended, without which nobody knows which trials keep
        them.

        Raises:
            OSError: a file cannot be removed or written.
        """
        kept = {outcome.trial for outcome in outcomes.ended()[: self._keep]}
        kept |= {outcome.trial for outcome in outcomes.by_trial.values() if outcome.reference}
        going_on = (o for o in outcomes.by_trial.values() if o.state is None)
        reference = outcomes.reference_trial()
        if reference is not None and reference.state is None and not outcomes.constraints.are_none:
            kept |= outcomes.by_trial.keys()
        kept |= {outcome.parent for outcome in going_on if outcome.parent is not None}
        for run, outcome in outcomes.runs().items():
            if outcome.state is None or run in self._gone:
                continue
            if run[0] not in kept and not run[1]:
                self._gone.add(run)  # for good: trials are only overtaken, or have begun
                self._checkpoints.remove(*run)
            elif run not in self._done:
                self._done.add(run)
                self._checkpoints.remove_partial(*run)
                with suppress(DamagedError):
                    self._checkpoints.shrink(*run)
