"""What is still to train and to score before the best model can be chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.events.outcomes import Outcome, Outcomes
from search.events.replies import TrialSpec
from search.events.types import AVERAGED
from search.settings.sections import FinalistSettings, SearchSettings

SEEDS = 2**32  # there are so many


def finalists(outcomes: Outcomes, search: SearchSettings) -> list[Outcome]:
    """The trials that are trained anew."""
    return outcomes.ended()[: search.finals.count]


def runs_wanted(outcomes: Outcomes, search: SearchSettings) -> list[tuple[Outcome, int]]:
    """Each finalist with each of its other seeds, in the order in which they are trained."""
    there = finalists(outcomes, search)
    repeats = range(1, search.finals.seeds + 1)
    return [(finalist, repeat) for repeat in repeats for finalist in there]


def candidates(
    outcomes: Outcomes, search: SearchSettings
) -> dict[int, tuple[tuple[int, int], ...]]:
    """Each trial that may become the best model, and its runs that count.

    Those are its runs with other seeds: the score that made it a finalist is the best of many, and
    therefore too good. Without finalists, or where none of their runs has finished, the best trial
    is the only candidate, as it was trained.
    """
    found = {}
    for finalist in finalists(outcomes, search):
        runs = (
            (finalist.trial, repeat)
            for repeat in range(1, search.finals.seeds + 1)
            if _state(outcomes, finalist.trial, repeat) == "finished"
        )
        if finished := tuple(runs):
            found[finalist.trial] = finished
    if found:
        return found
    best = next(iter(outcomes.ended()), None)
    return {} if best is None else {best.trial: ((best.trial, 0),)}


def averaged_runs(
    finals: FinalistSettings, runs: Sequence[tuple[int | None, int]]
) -> tuple[int, ...]:
    """The runs of a candidate whose weights are averaged; none where there are fewer than two."""
    return tuple(repeat for _, repeat in runs) if finals.average and len(runs) > 1 else ()


def next_tasks(outcomes: Outcomes, search: SearchSettings) -> list[TrialSpec]:
    """What to do next, all of which can be done at once; nothing when the choice can be made.

    First every finalist is trained with other seeds. Only then are models scored for the final
    comparison, since that reads the test sentences: the candidates, the averages of their runs, the
    reference, and the base without training.
    """
    if not outcomes.count("finished"):
        return []
    found = (_to_train(outcomes, *run) for run in runs_wanted(outcomes, search))
    # Two finalists may go on from the same trial.
    training = {(task.trial, task.repeat): task for task in found if task is not None}
    return list(training.values()) or _scoring(outcomes, search)


def _scoring(outcomes: Outcomes, search: SearchSettings) -> list[TrialSpec]:
    there = candidates(outcomes, search)
    wanted = [run for runs in there.values() for run in runs]
    wanted += [(o.trial, 0) for o in outcomes.ended() if o.reference]
    tasks = [
        TrialSpec(
            task="score",
            trial=trial,
            repeat=repeat,
            values=dict(outcomes.run(trial, repeat).values),
        )
        for trial, repeat in dict.fromkeys(wanted)
        if (trial, repeat) not in outcomes.scored
    ]
    for trial, runs in there.items():
        averaged = averaged_runs(search.finals, runs)
        known = outcomes.scored.get((trial, AVERAGED))
        if averaged and (known is None or known.averaged != averaged):
            values = dict(outcomes.by_trial[trial].values)
            tasks.append(
                TrialSpec(
                    task="score", trial=trial, repeat=AVERAGED, averaged=averaged, values=values
                )
            )
    if (None, 0) not in outcomes.scored:
        tasks.append(TrialSpec(task="score", trial=None, values={}))
    return tasks


def _state(outcomes: Outcomes, trial: int, repeat: int) -> str | None:
    run = outcomes.repeats.get((trial, repeat))
    return None if run is None else run.state


def _to_train(outcomes: Outcomes, trial: Outcome, repeat: int) -> TrialSpec | None:
    """What is to be trained next for a run of a trial with another seed.

    A trial that goes on from another one does so with the other seed too, so first that one has to
    be trained with it.

    Returns:
        None where the run has ended, or cannot be made: the one before it failed, or has as many
        epochs already, as where the search had stopped the trial early.
    """
    if _state(outcomes, trial.trial, repeat) is not None:
        return None
    if trial.parent is not None:
        state = _state(outcomes, trial.parent, repeat)
        if state is None:
            return _to_train(outcomes, outcomes.by_trial[trial.parent], repeat)
        done = outcomes.run(trial.parent, repeat).epochs if state == "finished" else 0
        if not 0 < done < (trial.most_epochs or 0):
            return None
    return _repeated(trial, repeat)


def _repeated(trial: Outcome, repeat: int) -> TrialSpec:
    """A trial with another seed, but for the pairs that it draws.

    What is stored of their sentences' states serves the run too: those of other pairs took most of
    its time.
    """
    values: Mapping[str, Any] = trial.values
    training = values["training"]
    drawn = training.get("pairs_seed")
    other = training | {
        "seed": (training["seed"] + repeat) % SEEDS,
        "pairs_seed": training["seed"] if drawn is None else drawn,
    }
    return TrialSpec(
        trial=trial.trial,
        repeat=repeat,
        values={**values, "training": other},
        parent=trial.parent,
        epochs=trial.most_epochs,
    )
