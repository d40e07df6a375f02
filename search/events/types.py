"""What happens in a run, as frozen types; a line of the journal is one of them as JSON.

They are sent between processes too, so nothing here imports torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from search.scoring.constraints import Constraints

FORMAT = 1  # of a journal
AVERAGED = -1  # in place of a run's number: the mean of the weights of several

# How a trial ended.
State = Literal["finished", "stopped", "failed"]


class Message(BaseModel):
    """Something that one process tells another, or a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class JournalStarted(Message):
    """A journal begins.

    Attributes:
        format: of its lines.
        constraints: of the search, by which its trials are ranked.
    """

    event: Literal["journal"] = "journal"
    format: int = FORMAT
    constraints: Constraints = Constraints()


class TrialStarted(Message):
    """A trial is given to a lane for the first time.

    A finalist is trained anew, with other seeds, after the search: such runs of a trial are told
    apart by ``repeat``, here and in the events that follow.

    Attributes:
        repeat: 0 for the trial as it was drawn; from 1 for its runs with other seeds.
        reference: whether it is the trial that others are compared with.
        values: its config.
        drawn: what the sampler drew for it: name of a domain -> option or number.
        parent: the trial whose weights it goes on from; None where it begins with fresh ones.
        epochs: how many it is to have done at its end, with those of its parent; None for as many
            as all trials.
    """

    event: Literal["trial"] = "trial"
    trial: int
    repeat: int = 0
    reference: bool
    values: dict[str, JsonValue]
    drawn: dict[str, JsonValue] = {}
    parent: int | None = None
    epochs: int | None = None


class TrialContinued(Message):
    """A trial that an earlier command left unfinished goes on.

    Attributes:
        epoch: epochs done that stand; those after it are trained again.
    """

    event: Literal["continued"] = "continued"
    trial: int
    repeat: int = 0
    epoch: int


class EpochDone(Message):
    """A trial has trained an epoch and was scored.

    Attributes:
        epoch: epochs done, from 1; of a trial with a parent, from the parent's last one on.
        loss: mean over the epoch's steps.
        accuracy: mean of ``by_language``.
        by_language: top-1 retrieval accuracy against the pivot, mean of both directions.
        objective: what the search maximises; None where that is ``accuracy``.
        metric: language -> metric of the search, where that is not the accuracy.
        seconds: of training and evaluation since the trial began.
        trainable_parameters: of encoder and loss.
        added_parameters: what the model has beside the base: those of pooling and head, and of an
            adapter that cannot be merged; None in a journal of an earlier version.
        start: what the encoder started from (see `search.training.loop.EpochReport`).
        lane: process id of the lane; 0 without lanes.
        began, ended: Unix time in seconds at which a worker took the trial, and of this report.
    """

    event: Literal["epoch"] = "epoch"
    trial: int
    repeat: int = 0
    epoch: int
    loss: float
    accuracy: float
    by_language: dict[str, float]
    objective: float | None = None
    metric: dict[str, float] = {}
    seconds: float
    trainable_parameters: int
    added_parameters: int | None = None
    start: str
    lane: int = 0
    began: float
    ended: float

    @property
    def value(self) -> float:
        """What the search maximises."""
        return self.accuracy if self.objective is None else self.objective


class TrialEnded(Message):
    """A trial has ended.

    Attributes:
        error: why it failed; otherwise empty.
    """

    event: Literal["end"] = "end"
    trial: int
    repeat: int = 0
    state: State
    error: str = ""


class UntouchedScored(Message):
    """The base was scored without training.

    Attributes:
        accuracy, by_language, objective, metric: as in `EpochDone`.
    """

    event: Literal["untouched"] = "untouched"
    accuracy: float
    by_language: dict[str, float]
    objective: float | None = None
    metric: dict[str, float] = {}


class SplitScores(Message):
    """Scores of a model on the sentences of one split.

    Attributes:
        accuracy, by_language, objective, metric: as in `EpochDone`.
        found: language -> a character a row: in how many directions, of both, the translation was
            found, 0 to 2, or ``-`` where the language or the pivot has no sentence.
    """

    accuracy: float
    by_language: dict[str, float]
    objective: float | None = None
    metric: dict[str, float] = {}
    found: dict[str, str]

    @property
    def value(self) -> float:
        """What the search maximises."""
        return self.accuracy if self.objective is None else self.objective


class ModelScored(Message):
    """A trained model, or the base without training, was scored for the final comparison.

    Attributes:
        trial, repeat: which model; None for the base without training.
        averaged: the runs whose weights were averaged, where ``repeat`` is `AVERAGED`.
        validation: on the sentences by which the search has chosen.
        test: on the sentences that chose nothing; None where there are none.
    """

    event: Literal["scored"] = "scored"
    trial: int | None
    repeat: int = 0
    averaged: tuple[int, ...] = ()
    validation: SplitScores
    test: SplitScores | None


class Interval(Message):
    """A score or a difference, and its 95 % interval."""

    value: float
    low: float
    high: float


class FinalRow(Message):
    """A candidate, the reference or the base without training in the final comparison.

    Attributes:
        trial: None for the base without training.
        repeats: the runs of it; ``[0]`` for the trial as it was drawn.
        average: ``validation`` of the model whose weights are the mean of the runs'; None if none.
        averaged: whether the row is of that model, not of the mean of the runs' scores.
        validation: what is maximised, on the validation sentences.
        lowest, highest: likewise of the runs.
        measured: what is compared, on the sentences of ``FinalsDecided.split``.
        by_language: likewise each language's accuracy.
        trainable_parameters: 0 for the base.
        added_parameters: as of `EpochDone`; 0 for the base.
        violations: the constraints of the search that a candidate does not keep, by the means of
            the validation sentences.
    """

    trial: int | None
    repeats: tuple[int, ...]
    average: float | None = None
    averaged: bool = False
    validation: float
    lowest: float
    highest: float
    measured: Interval
    by_language: dict[str, float]
    trainable_parameters: int
    added_parameters: int | None = None
    violations: tuple[str, ...] = ()


def added_by(model: EpochDone | FinalRow) -> int:
    """Parameters beside the base's; those that train, in a journal of an earlier version."""
    added = model.added_parameters
    return model.trainable_parameters if added is None else added


class FinalComparison(Message):
    """The winner against another model, on the same sentences.

    Attributes:
        other: what the other model is; ``candidate`` for one behind the runner-up.
        trial: of the other; None for the base without training.
        difference: the winner's score less the other's.
        by_language: the same of the accuracy in each language.
    """

    other: Literal["runner-up", "candidate", "reference", "untouched"]
    trial: int | None
    difference: Interval
    by_language: dict[str, Interval] = {}

    @property
    def is_significant(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.difference.low > 0 or self.difference.high < 0


class FinalsDecided(Message):
    """The best model is chosen, and compared with the others.

    Attributes:
        trial, repeat: the model that becomes ``best/``; ``repeat`` may be `AVERAGED`.
        split: the sentences that ``rows`` and ``comparisons`` are measured on; ``validation`` where
            none are put aside for a test.
        compared: the mean accuracy, or the search's objective, made of the languages' accuracies.
        rows: the candidates, best first on the validation sentences, then the reference and the
            base.
        tied: trials that the validation sentences cannot tell from the first of ``rows``; the one
            that adds the fewest parameters to the base is chosen among these and the first.
        violations: the constraints that the chosen model does not keep on the validation sentences.
    """

    event: Literal["decided"] = "decided"
    trial: int
    repeat: int
    split: Literal["validation", "test"]
    compared: Literal["accuracy", "objective"]
    rows: tuple[FinalRow, ...]
    comparisons: tuple[FinalComparison, ...]
    tied: tuple[int, ...] = ()
    violations: tuple[str, ...] = ()


class Note(Message):
    """What the user should know of the run."""

    event: Literal["note"] = "note"
    text: str


Event = Annotated[
    JournalStarted
    | TrialStarted
    | TrialContinued
    | EpochDone
    | TrialEnded
    | UntouchedScored
    | ModelScored
    | FinalsDecided
    | Note,
    Field(discriminator="event"),
]
EVENTS: TypeAdapter[Event] = TypeAdapter(Event)
