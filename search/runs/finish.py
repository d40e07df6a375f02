"""The end of a run: rank the trials, and export the best one."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from search.runs.console import (
    FINISHED,
    NONE_FINISHED,
    explain_os_error,
    redirect_library_output,
)
from search.runs.folder import JOURNAL
from search.runs.stopping import Stop
from search.runtime.checkpoint_file import checkpoint_file
from search.settings.problems import shown

if TYPE_CHECKING:
    from search.events.journal import Outcomes
    from search.runs.prepare import Prepared


def finish_run(console: Console, folder: Path, prepared: Prepared, stop: Stop | None = None) -> int:
    """Rank the trials and make the best one a model.

    Args:
        stop: why the run ends early; None where it went to its end.

    Returns:
        The exit status.
    """
    from search.events.journal import Outcomes, read_journal
    from search.report.terminal import ranking

    if not folder.exists():
        reason = stop.reason if stop else "the search ended"
        console.print(f"{reason} before any trial began", markup=False)
        return NONE_FINISHED if stop is None or stop.status is None else stop.status
    outcomes = Outcomes(read_journal(folder / JOURNAL))
    console.print(ranking(outcomes))
    console.print(f"\nleaderboard: {folder / 'leaderboard.csv'}", markup=False, soft_wrap=True)
    if stop:
        unfinished = outcomes.count(None)
        console.print(
            f"{stop.reason}: {unfinished} trial{'s' * (unfinished != 1)} unfinished",
            markup=False,
        )
    else:
        for note in filter(None, (prepared.ended_early(len(outcomes.by_trial)), prepared.repeats)):
            console.print(note, markup=False, soft_wrap=True)
    status = _make_best(console, folder, prepared, outcomes)
    return status if stop is None or stop.status is None else stop.status


def _make_best(console: Console, folder: Path, prepared: Prepared, outcomes: Outcomes) -> int:
    """Make the best trial a model; the exit status."""
    from safetensors import SafetensorError

    from components.languages import FamilyTable
    from search.export import ExportError, export, trusted
    from search.settings.trial import Scores, TrialConfig
    from search.training.checkpoint import Checkpoint

    if not outcomes.count("finished"):
        console.print("no trial finished, so there is no best/", style="red")
        return NONE_FINISHED
    best = outcomes.best_ended()
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
