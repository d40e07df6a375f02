"""The end of a run: rank the trials, and export the best one."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from search.runs.console import (
    FINISHED,
    INTERRUPTED,
    NONE_FINISHED,
    explain_os_error,
    redirect_library_output,
)
from search.runs.folder import JOURNAL
from search.runtime.checkpoint_file import checkpoint_file
from search.settings.problems import shown

if TYPE_CHECKING:
    from search.runs.prepare import Prepared


def finish_run(console: Console, folder: Path, prepared: Prepared, interrupted: bool) -> int:
    """Rank the trials and make the best one a model; the exit status."""
    from safetensors import SafetensorError

    from components.languages import FamilyTable
    from search.events.journal import Outcomes, read_journal
    from search.export import ExportError, export, trusted
    from search.report.terminal import ranking
    from search.settings.trial import Scores, TrialConfig
    from search.training.checkpoint import Checkpoint

    if not folder.exists():
        console.print("interrupted before any trial began")
        return INTERRUPTED
    outcomes = Outcomes(read_journal(folder / JOURNAL))
    console.print(ranking(outcomes))
    console.print(f"\nleaderboard: {folder / 'leaderboard.csv'}", markup=False, soft_wrap=True)
    if interrupted:
        console.print("interrupted: the trials so far are in the leaderboard, best/ was not made")
        return INTERRUPTED
    for note in filter(None, (prepared.ended_early(len(outcomes.by_trial)), prepared.repeats)):
        console.print(note, markup=False, soft_wrap=True)
    if not outcomes.count("finished"):
        console.print("no trial finished, so there is no best/", style="red")
        return NONE_FINISHED
    best = outcomes.best()
    assert best is not None, "a finished trial has a score"
    untouched = outcomes.untouched
    if untouched is not None and best.accuracy <= untouched.accuracy:
        console.print(
            f"no trial is better than the base without training ({untouched.accuracy:.3f}); best/ "
            f"is the best trial all the same",
            style="yellow",
        )
    data = checkpoint_file(folder / "trials", best.trial).read_bytes()
    try:
        status = console.status("writing and checking best/")
        with status if console.is_terminal else nullcontext(), redirect_library_output(folder):
            export(
                TrialConfig.model_validate(best.values),
                Checkpoint.from_bytes(data),
                folder / "best",
                validation=prepared.split.validation_text,
                tokenised=prepared.split.validation,
                table=FamilyTable(prepared.config.data.families),
                expected=Scores(best.accuracy, best.by_language),
                reference=outcomes.reference(),
                untouched=untouched,
                prompts=prepared.split.prompts,
            )
    except (ExportError, ValueError, OSError, SafetensorError) as error:
        if not isinstance(error, ExportError):  # that one leaves a model to look at
            shutil.rmtree(folder / "best.new", ignore_errors=True)
        why = explain_os_error(error) if isinstance(error, OSError) else shown(error, 1000)
        console.print(f"best/ could not be made: {why}", markup=False, style="red", soft_wrap=True)
        return NONE_FINISHED
    trust = ", trust_remote_code=True" if trusted(folder / "best") else ""
    console.print(
        f'best model: SentenceTransformer("{folder / "best"}"{trust})', markup=False, soft_wrap=True
    )
    return FINISHED
