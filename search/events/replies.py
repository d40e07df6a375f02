"""What a lane is given, and what it answers: frozen types that cross processes.

Nothing here imports torch: a lane has no use for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from search.events.types import AVERAGED, EpochDone, Message, ModelScored, UntouchedScored


class TrialSpec(Message):
    """A trial to train, or a model to score for the final comparison.

    Attributes:
        task: what to do.
        trial: its number, from 0; None for the base without training.
        repeat: 0, or the number of its run with another seed; `AVERAGED` for the mean of the
            weights of several.
        averaged: the numbers of these.
        values: its config.
        parent, epochs: as of `TrialStarted`.
    """

    task: Literal["train", "score"] = "train"
    trial: int | None
    repeat: int = 0
    averaged: tuple[int, ...] = ()
    values: dict[str, JsonValue]
    parent: int | None = None
    epochs: int | None = None


def describe_task(config: Mapping[str, object]) -> str:
    """Name what Tune is given."""
    trial = "the untouched base" if config["trial"] is None else f"trial {config['trial']}"
    repeat = config.get("repeat")
    seed = f" with seed {repeat} of the finals" if repeat else ""
    if repeat == AVERAGED:
        seed = ", the average of its runs"
    return f"{trial}{seed}{', scored' if config.get('task') == 'score' else ''}"


class EpochReply(Message):
    """A trial has trained an epoch.

    Attributes:
        last: whether it is the trial's last one.
        notes: what the user should know of how the lane runs.
        untouched: scores of the base without training, where this lane took them.
    """

    reply: Literal["epoch"] = "epoch"
    done: EpochDone
    last: bool
    notes: tuple[str, ...] = ()
    untouched: UntouchedScored | None = None


class ScoredReply(Message):
    """A model has been scored."""

    reply: Literal["scored"] = "scored"
    scored: ModelScored


class TrialFailed(Message):
    """A trial failed by its own fault; the lane takes the next one.

    Attributes:
        message: why.
        epoch: epochs done before.
    """

    reply: Literal["failed"] = "failed"
    message: str
    epoch: int = 0


class LaneLost(Message):
    """This lane can train no more; another one can."""

    reply: Literal["lost"] = "lost"
    message: str


class LaneImpossible(Message):
    """No lane could train any trial."""

    reply: Literal["impossible"] = "impossible"
    message: str


class StorageLost(Message):
    """A checkpoint cannot be written, so that the search must end; its trial is unfinished."""

    reply: Literal["storage"] = "storage"
    message: str


Reply = Annotated[
    EpochReply | ScoredReply | TrialFailed | LaneLost | LaneImpossible | StorageLost,
    Field(discriminator="reply"),
]
