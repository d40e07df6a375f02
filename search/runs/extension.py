"""Train the best trials of a complete search on, for more epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from search.events.journal import read_journal
from search.events.outcomes import Outcomes
from search.events.types import TrialStarted
from search.runs.folder import Run
from search.runs.record import RunRecord
from search.runs.resume import JOURNAL
from search.runs.retention import checkpoints_of
from search.runtime.checkpoints import Checkpoints
from search.runtime.sealing import DamagedError
from search.settings.problems import InputError, Problem

BEST = 3  # trials that are trained on, by default


def refuse_beside_epochs(epochs: int | None, best: int | None, trials: int | None) -> None:
    """Refuse options of a search that goes on which do not belong together.

    Raises:
        InputError: with each of them.
    """
    problems = []
    if best is not None and epochs is None:
        problems.append(Problem("", 0, "--best", "is given without --epochs; it must be left out"))
    if epochs is not None and trials is not None:
        message = "is given beside --trials; it must be given in a command of its own"
        problems.append(Problem("", 0, "--epochs", message))
    if problems:
        raise InputError(problems)


def plan_extension(record: RunRecord, *, best: int, epochs: int) -> list[TrialStarted]:
    """Choose the best trials of a search, and number the trials that go on from them.

    Each goes on from the weights of its parent, with a fresh optimizer and its schedule anew. The
    parent stays as it is, so that nothing is lost where more training makes it worse; of a trial
    that was trained on before, only the later one is chosen.

    Args:
        best: how many.
        epochs: that each is to have done at its end, with those of its parent.

    Raises:
        InputError: the journal is damaged, the search is not complete, or one of the best has no
            checkpoint or as many epochs.
    """
    outcomes = Outcomes(read_journal(record.folder / JOURNAL))
    checkpoints = checkpoints_of(record.folder, record.checkpoints)
    if unfinished := outcomes.count(None):
        raise InputError(
            f"--epochs is given, but {unfinished} trial{'s' * (unfinished > 1)} of the run "
            f"{'are' if unfinished > 1 else 'is'} unfinished; the search must be complete first: "
            f"--resume without --epochs"
        )
    parents = {outcome.parent for outcome in outcomes.by_trial.values()}
    chosen = [outcome for outcome in outcomes.ended() if outcome.trial not in parents][:best]
    if len(chosen) < best:
        raise InputError(
            f"--best is {best}; it must be at most {len(chosen)}, the trials that have ended with "
            f"a score and were not trained on"
        )
    # With other seeds, one that was stopped early is trained for as many epochs as the reference.
    reference = outcomes.reference_trial()
    trained = [*chosen, *([] if reference is None or reference in chosen else [reference])]
    longest = max(trained, key=lambda outcome: outcome.epochs)
    problems = []
    if longest.epochs >= epochs:
        message = f"is {epochs}; it must be more than {longest.epochs}, for which trial "
        problems = [Problem("", 0, "--epochs", f"{message}{longest.trial} was trained")]
    problems += [
        Problem("", 0, "--best", f"is {best}; it must be fewer, as trial {outcome.trial} cannot go "
                f"on: {fault} (search.keep says how many keep theirs)")
        for outcome in chosen
        if (fault := _fault(checkpoints, outcome.trial))
    ]  # fmt: skip
    if problems:
        raise InputError(problems)
    first = max(outcomes.by_trial) + 1
    return [
        TrialStarted(
            trial=number, reference=False, values=dict(o.values), parent=o.trial, epochs=epochs
        )
        for number, o in enumerate(chosen, start=first)
    ]


def _fault(checkpoints: Checkpoints, trial: int) -> str:
    """Why a trial has no checkpoint to go on from; empty where it has one."""
    try:
        return "" if checkpoints.newest(trial) is not None else "its checkpoint was not kept"
    except DamagedError as error:
        return f"its checkpoint is damaged ({error})"


def extend(run: Run, started: Sequence[TrialStarted]) -> Run:
    """Note the start of trials that go on from others: they are unfinished ones from then on."""
    by_trial = Outcomes(run.past.events).by_trial
    standing = dict(run.past.standing)
    for event in started:
        assert event.parent is not None, "it goes on from one"
        run.journal.append(event)
        standing[event.trial, 0] = by_trial[event.parent].epochs
    past = replace(run.past, events=(*run.past.events, *started), standing=standing)
    return replace(run, past=past)
