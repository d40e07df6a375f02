"""A trial of a run becomes a model that sentence-transformers loads."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from search.runs.record import program
from search.settings.problems import InputError

if TYPE_CHECKING:
    from search.data.settings import DataSettings
    from search.data.split import Split
    from search.events.outcomes import Outcome, Outcomes
    from search.export import Form, HeldOut
    from search.runtime.checkpoints import Checkpoints
    from search.settings.trial import Scores, TrialConfig
    from search.training.checkpoint import Checkpoint


class Trained(NamedTuple):
    """What a trial of a run, or its runs with other seeds, have come to."""

    config: TrialConfig
    checkpoint: Checkpoint


def read_trained(checkpoints: Checkpoints, outcome: Outcome) -> Trained:
    """Read the checkpoint of a trial, of its run with another seed, or of the average of several.

    Raises:
        ValueError: there is none, or it is damaged.
        OSError: it cannot be read.
    """
    from search.settings.trial import TrialConfig
    from search.training.averaging import average

    config = TrialConfig.model_validate(outcome.values)
    runs = outcome.averaged or (outcome.repeat,)
    found = [_read_checkpoint(checkpoints, outcome.trial, repeat) for repeat in runs]
    return Trained(*average(config, found))


def _read_checkpoint(checkpoints: Checkpoints, trial: int, repeat: int) -> Checkpoint:
    from search.training.checkpoint import Checkpoint

    name = f"trial {trial}" + f" with seed {repeat} of the finals" * bool(repeat)
    try:
        with checkpoints.opened(trial, repeat) as file:
            found = None if file is None else Checkpoint.read(file)
    except ValueError as error:
        raise ValueError(f"the checkpoint of {name} cannot be used: {error}") from error
    if found is None:
        raise ValueError(f"{name} has no checkpoint in {checkpoints.location}")
    return found


def export_command(folder: Path) -> str:
    """What to type to make a model of the best trial."""
    return shlex.join([*program("search.export"), str(folder), "--to", "model"])


def kept_trials(checkpoints: Checkpoints) -> list[int]:
    """The trials of a run that have a checkpoint, in order."""
    return [trial for trial, repeat in checkpoints.runs() if not repeat]


def refuse_unknown_trial(outcomes: Outcomes, trial: int) -> None:
    """Refuse a number that no trial of a run has.

    Raises:
        InputError: it is such a one.
    """
    if trial not in outcomes.by_trial:
        raise InputError(
            f"--trial is {trial}; it must be one of the run's {len(outcomes.by_trial)} trials"
        )


def choose_trial(
    checkpoints: Checkpoints, outcomes: Outcomes, trial: int | None = None
) -> tuple[Outcome, Trained]:
    """Find the trial to make a model of, and its checkpoint, which may be newer than its score.

    Args:
        trial: its number; None for the model that the final comparison chose or, where there was
            none, for the best trial that has a checkpoint, unfinished ones among them.

    Raises:
        InputError: there is no such trial, or it has no usable checkpoint.
    """
    kept = kept_trials(checkpoints)
    repeat = 0
    if trial is None and outcomes.decided is not None:
        trial, repeat = outcomes.decided.trial, outcomes.decided.repeat
    if trial is None:
        ranked = [o for o in outcomes.ranked() if o.trial in kept and o.state != "failed"]
        if not ranked:
            raise InputError(
                f"no trial has a checkpoint in {checkpoints.location} yet; one must have trained "
                f"an epoch"
            )
        trial = ranked[0].trial
    refuse_unknown_trial(outcomes, trial)
    outcome = outcomes.run(trial, repeat)
    try:
        trained = read_trained(checkpoints, outcome)
    except ValueError as error:
        others = ", ".join(str(number) for number in kept if repeat or number != trial) or "none"
        cure = "a search keeps those of its best trials (search.keep), here also"
        if repeat:
            cure = "a trial as the search trained it is written with --trial, here one of"
        raise InputError(f"{error}; {cure}: {others}") from error
    scores = reported_scores(trained.checkpoint)
    if scores is None:
        return outcome, trained
    return replace(outcome, scores=scores, epochs=trained.checkpoint.epoch), trained


def reported_scores(checkpoint: Checkpoint) -> Scores | None:
    """What was said of a trial at its checkpoint; None where that is not in it."""
    from search.events.outcomes import scores_of
    from search.events.types import EVENTS, EpochDone

    if not checkpoint.report:
        return None
    done = EVENTS.validate_json(checkpoint.report)
    return scores_of(done) if isinstance(done, EpochDone) else None


def _held_out(split: Split, outcomes: Outcomes, outcome: Outcome) -> HeldOut | None:
    """What the model card tells of the test; None where no sentences are put aside."""
    from search.events.outcomes import scores_of
    from search.export import HeldOut
    from search.finals.words import describe_choice, describe_comparisons, find_row
    from search.settings.trial import Scores

    if split.test is None or split.test_text is None:
        return None

    decided = outcomes.decided
    rows = () if decided is None or decided.split != "test" else decided.rows

    def scores(trial: int | None) -> Scores | None:
        for row in rows:  # of a finalist, what stands for it, as in the sentences
            if row.trial == trial and row.repeats != (0,):
                return Scores(fmean(row.by_language.values()), row.by_language)
        scored = outcomes.scored.get((trial, 0))
        return None if scored is None or scored.test is None else scores_of(scored.test)

    sentences: list[str] = []
    if decided is not None and (decided.trial, decided.repeat) == (outcome.trial, outcome.repeat):
        sentences = [describe_choice(decided), *describe_comparisons(decided)]
        row = find_row(decided, decided.trial)
        runs = len(row.repeats)
        if row.averaged:
            told = f"this model has the mean of the weights of these {runs} runs"
            adapter = outcome.values.get("adapter")
            if isinstance(adapter, dict) and "rank" in adapter:
                told += "; the rank below is the sum of theirs"
            sentences.insert(1, told)
        elif runs > 1:
            told = f"the comparisons are of the mean of {runs} runs, of which this model is one"
            sentences.insert(1, told)
    elif outcome.state is None:
        epochs = f"{outcome.epochs} epoch{'s' * (outcome.epochs != 1)}"
        sentences = [f"trial {outcome.trial}, which has not ended: the model after {epochs}"]
    reference = outcomes.reference_trial()
    return HeldOut(
        split.test_text,
        split.test,
        None if reference is None else scores(reference.trial),
        scores(None),
        tuple(sentences),
    )


def export_trial(
    split: Split,
    data: DataSettings,
    outcomes: Outcomes,
    outcome: Outcome,
    trained: Trained,
    to: Path,
    form: Form | None = None,
) -> Scores:
    """Write a trial as a model, in place of what the folder holds, and hold it to its score.

    Args:
        data: settings of the sentences: families, and what was trained on.
        form: of the model, where it is not that of ``best/``.

    Returns:
        The scores of the model as it is loaded.

    Raises:
        ExportError: the model scores otherwise; it is left beside the folder, under ``.new``.
        ValueError, OSError, SafetensorError: it cannot be written. Nothing of it is left.
    """
    from components.languages import FamilyTable
    from search.export import ExportError, export

    try:
        return export(
            trained.config,
            trained.checkpoint,
            to,
            validation=split.validation_text,
            tokenised=split.validation,
            table=FamilyTable(data.families),
            expected=outcome.scores,
            reference=outcomes.reference(),
            untouched=outcomes.untouched,
            test=_held_out(split, outcomes, outcome),
            prompts=split.prompts,
            form=form,
            train_pairs=split.train.pair_count,
            datasets=tuple(filter(None, [data.train.hub_name()])),
        )
    except ExportError:
        raise
    except BaseException:  # an interrupt, too, leaves nothing half written
        shutil.rmtree(to.with_name(to.name + ".new"), ignore_errors=True)
        raise
