"""TensorBoard files of a run, a folder a trial, written while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from search.events.types import EpochDone, Event, TrialEnded, TrialStarted
from search.settings.trial import flatten

FOLDER = "tensorboard"


class TensorBoardFiles:
    """Writes the curves of each trial, and what was set and reached at its end.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._writers: dict[tuple[int, int], SummaryWriter] = {}
        self._values: dict[tuple[int, int], Mapping[str, object]] = {}
        self._last: dict[tuple[int, int], EpochDone] = {}

    def write(self, event: Event) -> None:
        """Write what an event tells of a trial; other events are passed over."""
        match event:
            case TrialStarted():
                self._values[event.trial, event.repeat] = event.values
            case EpochDone():
                self._write_epoch(event)
            case TrialEnded():
                self._end((event.trial, event.repeat))

    def close(self) -> None:
        """Close what is open, of trials that have not ended."""
        for run in list(self._writers):
            self._writers.pop(run).close()

    def _writer(self, run: tuple[int, int]) -> SummaryWriter:
        if run not in self._writers:
            name = f"trial-{run[0]}" + (f"-seed{run[1]}" if run[1] else "")
            self._writers[run] = SummaryWriter(str(self._folder / name), max_queue=1, flush_secs=1)
        return self._writers[run]

    def _write_epoch(self, done: EpochDone) -> None:
        run = done.trial, done.repeat
        self._last[run] = done
        writer = self._writer(run)
        for name, value in {
            "loss": done.loss,
            "objective": done.value,
            "accuracy": done.accuracy,
            **{f"accuracy/{language}": score for language, score in done.by_language.items()},
        }.items():
            writer.add_scalar(name, value, done.epoch, walltime=done.ended)
        writer.flush()

    def _end(self, run: tuple[int, int]) -> None:
        done, values = self._last.pop(run, None), self._values.pop(run, {})
        if done is not None:
            set_to = {
                key: value if isinstance(value, bool | int | float | str) else str(value)
                for key, value in flatten(values).items()
            }
            reached = {"hparam/accuracy": done.accuracy, "hparam/epochs": done.epoch}
            # Not `add_hparams`, which starts a file anew under the name of the one that is open.
            writer = self._writer(run)
            for summary in hparams(set_to, reached):
                writer.file_writer.add_summary(summary)
            for name, value in reached.items():
                writer.add_scalar(name, value, done.epoch, walltime=done.ended)
        if run in self._writers:
            self._writers.pop(run).close()
