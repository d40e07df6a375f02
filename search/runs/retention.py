"""Which checkpoints a run keeps: of its best trials, and of those that are unfinished."""

from __future__ import annotations

import shutil
from pathlib import Path

from search.events.journal import Outcomes
from search.runtime.checkpoint_file import checkpoint_file, shrink_checkpoint
from search.runtime.sealing import DamagedError


class Retention:
    """Removes checkpoints as trials end.

    Args:
        trials: folder of the trials of a run.
        keep: how many of the best trials that ended keep theirs.
    """

    def __init__(self, trials: Path, keep: int) -> None:
        self._trials = trials
        self._keep = keep
        self._done: set[int] = set()
        self._gone: set[int] = set()

    def apply(self, outcomes: Outcomes) -> None:
        """Remove what is not kept, and shrink what is kept of trials that have ended.

        A checkpoint that is found damaged is left for those who need it to say so.

        Raises:
            OSError: a file cannot be removed or written.
        """
        kept = {outcome.trial for outcome in outcomes.ended()[: self._keep]}
        for number, outcome in outcomes.by_trial.items():
            if outcome.state is None or number in self._gone:
                continue
            if number not in kept:
                self._gone.add(number)  # for good: trials are only overtaken
                shutil.rmtree(self._trials / str(number), ignore_errors=True)
            elif number not in self._done:
                self._done.add(number)
                file = checkpoint_file(self._trials, number)
                try:
                    shrink_checkpoint(file)
                except (DamagedError, FileNotFoundError):
                    continue
