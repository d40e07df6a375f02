"""A trial of a run becomes a model that sentence-transformers loads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from search.runs.resume import TRIALS
from search.runtime.checkpoint_file import checkpoint_file

if TYPE_CHECKING:
    from search.events.journal import Outcome, Outcomes
    from search.runs.prepare import Prepared
    from search.training.checkpoint import Checkpoint


def read_checkpoint(folder: Path, trial: int) -> Checkpoint:
    """Read the checkpoint of a trial of a run.

    Raises:
        ValueError: there is none, or it is damaged.
        OSError: it cannot be read.
    """
    from search.training.checkpoint import Checkpoint

    file = checkpoint_file(folder / TRIALS, trial)
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise ValueError(f"trial {trial} has no checkpoint: {file} is not there") from error
    try:
        return Checkpoint.from_bytes(data)
    except ValueError as error:
        raise ValueError(f"the checkpoint of trial {trial} cannot be used: {error}") from error


def export_trial(
    prepared: Prepared, outcomes: Outcomes, outcome: Outcome, checkpoint: Checkpoint, to: Path
) -> None:
    """Write a trial as a model, in place of what the folder holds, and hold it to its score.

    Raises:
        ExportError: the model scores otherwise; it is left beside the folder, under ``.new``.
        ValueError, OSError, SafetensorError: it cannot be written. Nothing of it is left.
    """
    from components.languages import FamilyTable
    from search.export import ExportError, export
    from search.settings.trial import TrialConfig

    split = prepared.split
    try:
        export(
            TrialConfig.model_validate(outcome.values),
            checkpoint,
            to,
            validation=split.validation_text,
            tokenised=split.validation,
            table=FamilyTable(prepared.config.data.families),
            expected=outcome.scores,
            reference=outcomes.reference(),
            untouched=outcomes.untouched,
            prompts=split.prompts,
        )
    except ExportError:
        raise
    except BaseException:  # an interrupt, too, leaves nothing half written
        shutil.rmtree(to.with_name(to.name + ".new"), ignore_errors=True)
        raise
