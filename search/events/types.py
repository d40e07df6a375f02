"""What happens in a run, as frozen types; a line of the journal is one of them as JSON.

They are sent between processes too, so nothing here imports torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

FORMAT = 1  # of a journal

# How a trial ended.
State = Literal["finished", "stopped", "failed"]


class Message(BaseModel):
    """Something that one process tells another, or a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class JournalStarted(Message):
    """A journal begins.

    Attributes:
        format: of its lines.
    """

    event: Literal["journal"] = "journal"
    format: int = FORMAT


class TrialStarted(Message):
    """A trial is given to a lane for the first time.

    Attributes:
        reference: whether it is the trial that others are compared with.
        values: its config.
        drawn: what the sampler drew for it: name of a domain -> option or number.
    """

    event: Literal["trial"] = "trial"
    trial: int
    reference: bool
    values: dict[str, JsonValue]
    drawn: dict[str, JsonValue] = {}


class TrialContinued(Message):
    """A trial that an earlier command left unfinished goes on.

    Attributes:
        epoch: epochs done that stand; those after it are trained again.
    """

    event: Literal["continued"] = "continued"
    trial: int
    epoch: int


class EpochDone(Message):
    """A trial has trained an epoch and was scored.

    Attributes:
        epoch: epochs done, from 1.
        loss: mean over the epoch's steps.
        accuracy: mean of ``by_language``.
        by_language: top-1 retrieval accuracy against the pivot, mean of both directions.
        objective: what the search maximises; None where that is ``accuracy``.
        metric: language -> metric of the search, where that is not the accuracy.
        seconds: of training and evaluation since the trial began.
        trainable_parameters: of encoder and loss.
        start: what the encoder started from (see `search.training.loop.EpochReport`).
        lane: process id of the lane; 0 without lanes.
        began, ended: Unix time in seconds at which a worker took the trial, and of this report.
    """

    event: Literal["epoch"] = "epoch"
    trial: int
    epoch: int
    loss: float
    accuracy: float
    by_language: dict[str, float]
    objective: float | None = None
    metric: dict[str, float] = {}
    seconds: float
    trainable_parameters: int
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
    | Note,
    Field(discriminator="event"),
]
EVENTS: TypeAdapter[Event] = TypeAdapter(Event)
