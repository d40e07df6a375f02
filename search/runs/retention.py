"""Which checkpoints a run keeps: of its best trials, the reference, and what is unfinished."""

from __future__ import annotations

import shutil
from pathlib import Path

from search.events.journal import Outcomes
from search.runtime.checkpoint_file import checkpoint_file, shrink_checkpoint
from search.runtime.sealing import DamagedError


class Retention:
    """Removes checkpoints as trials end.

    That of the reference stays, since it is scored again at the end, and so do those of finalists
    with other seeds.

    Args:
        trials: folder of the trials of a run.
        keep: how many of the best trials that ended keep theirs.
    """

    def __init__(self, trials: Path, keep: int) -> None:
        self._trials = trials
        self._keep = keep
        self._done: set[tuple[int, int]] = set()
        self._gone: set[tuple[int, int]] = set()

    def apply(self, outcomes: Outcomes) -> None:
        """Remove what is not kept, and shrink what is kept of trials that have ended.

        A checkpoint that is found damaged is left for those who need it to say so.

        Raises:
            OSError: a file cannot be removed or written.
        """
        kept = {outcome.trial for outcome in outcomes.ended()[: self._keep]}
        kept |= {outcome.trial for outcome in outcomes.by_trial.values() if outcome.reference}
        runs = {(number, 0): outcome for number, outcome in outcomes.by_trial.items()}
        for run, outcome in (runs | outcomes.repeats).items():
            if outcome.state is None or run in self._gone:
                continue
            file = checkpoint_file(self._trials, *run)
            if run[0] not in kept and not run[1]:
                self._gone.add(run)  # for good: trials are only overtaken
                shutil.rmtree(file.parent, ignore_errors=True)
            elif run not in self._done:
                self._done.add(run)
                try:
                    shrink_checkpoint(file)
                except (DamagedError, FileNotFoundError):
                    continue
