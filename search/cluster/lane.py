"""The Tune trainable that owns a Ray Train run; trials pass through it one after another."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypedDict

import ray
from ray import tune
from ray.tune import PlacementGroupFactory

from search.cluster.group import LaneTrainer
from search.cluster.mailbox import Mailbox
from search.cluster.mailboxes import LaneMailbox
from search.cluster.size import LanePlan
from search.cluster.transfer import CheckpointPlace
from search.events.replies import (
    EpochReply,
    LaneLost,
    Reply,
    ScoredReply,
    TrialFailed,
    TrialSpec,
    describe_task,
)

if TYPE_CHECKING:
    from ray.actor import ActorHandle

# Key, in what Tune is told, of the value that is maximised.
OBJECTIVE = "objective"
# Lanes only pass messages, so they take no CPU. This resource, which every head node has, keeps
# them on the node that is not a spot instance.
ON_HEAD = {"node:__internal_head__": 0.0001}
CLOSE_TIMEOUT_S = 60.0
MOST_CHARACTERS = 500  # of an error that is told


def lane_resources(plan: LanePlan) -> PlacementGroupFactory:
    """What Tune makes room for before it starts a lane: the lane itself, then each worker."""
    worker = {"CPU": plan.cpus} | ({"GPU": plan.gpus} if plan.gpus else {})
    return PlacementGroupFactory([ON_HEAD, *[worker] * plan.workers], strategy="PACK")


class SharedSettings(TypedDict):
    """What the workers of every lane are given.

    Attributes:
        corpora: references of the tokenised corpora ``train``, ``validation`` and, where there is
            one, ``test``; and of ``text``, that of the first, where a trial may ask for other
            models.
        checkpoints: where they go.
        session: `SessionSettings` as plain data.
        threads: of torch, in each worker.
        folder: which relative paths start from.
    """

    corpora: dict[str, ray.ObjectRef]
    checkpoints: CheckpointPlace
    session: dict[str, object]
    threads: int
    folder: str


class WorkerSettings(SharedSettings):
    """What the workers of a lane are given.

    Attributes:
        mailbox: of the lane.
    """

    mailbox: LaneMailbox


def work(settings: WorkerSettings) -> None:
    """What Ray Train runs in each worker."""
    # Imported there only: the lane and Train's controller need none of the seconds it takes.
    from search.cluster import worker

    worker.work(settings)


@dataclass(frozen=True)
class LaneSetup:
    """What a lane needs, the same for every lane of a search.

    Attributes:
        name: of the search; the Ray Train runs of its lanes are named for it.
        mailboxes: a `mailboxes.MailboxActor`.
        scratch: where Ray Train may keep files of its own.
        plan: the size of a lane.
        work: for the workers.
    """

    name: str
    mailboxes: ActorHandle
    scratch: str
    plan: LanePlan
    work: SharedSettings


class Lane(tune.Trainable):
    """Keep one Ray Train run alive across trials.

    A TorchTrainer in every trial, as Ray's guide has it, would cost 11 to 21 seconds and eight
    processes a trial. Here the run is started once and ends with the lane.
    """

    def setup(self, config: dict[str, object], lane: LaneSetup | None = None) -> None:
        """Put the first trial in the mailbox."""
        assert lane is not None
        self._lane = lane
        self._number: int = ray.get(lane.mailboxes.open.remote())
        self._mailbox = LaneMailbox(lane.mailboxes, self._number)
        self._closing = threading.Event()
        self._assign(config)
        # Started by the first step: Tune also makes lanes that it then finds no use for.
        self._run = threading.Thread(target=self._fit, daemon=True)

    def __repr__(self) -> str:
        """The name of the lane on the dashboard; Ray asks for it once, when the lane is made."""
        return f"lane {self._number}"

    def _assign(self, config: dict[str, object]) -> None:
        self._spec = TrialSpec(**config)
        self._epoch = 0
        self._mailbox.ask(Mailbox.assign, self._spec)

    def _fit(self) -> None:
        lane = self._lane
        message = "the lane's Ray Train run ended early"
        try:
            LaneTrainer(
                work,
                WorkerSettings(mailbox=self._mailbox, **lane.work),
                lane=self._number,
                name=lane.name,
                storage=lane.scratch,
                plan=lane.plan,
                closing=self._closing,
                on_loss=partial(lane.mailboxes.lose.remote, self._number),
            ).fit()
        except Exception as error:  # whatever it is, it must reach the driver as data
            message = last_error(str(error))
        self._mailbox.post(Mailbox.abort, message, False)

    def step(self) -> dict[str, object]:
        """The next result of the trial in the mailbox."""
        if not self._run.ident:
            self._run.start()
        # Seen in `ps`, `nvidia-smi` and among the processes of a node on the dashboard.
        title = describe_task(self._spec.model_dump())
        title += f", epoch {self._epoch + 1}" if self._spec.task == "train" else ""
        ray._raylet.setproctitle(f"ray::lane {self._number}: {title}")
        reply: Reply = self._mailbox.ask(Mailbox.next_result)
        told: dict[str, object] = {OBJECTIVE: float("nan"), "epoch": 0, "done": True}
        match reply:
            case LaneLost():
                raise RuntimeError(reply.message)  # the trial goes to another lane
            case ScoredReply():
                pass  # its scores are in the reply
            case TrialFailed():
                told["epoch"] = reply.epoch
            case EpochReply():
                done = reply.done.model_copy(update={"lane": self._number})
                reply = reply.model_copy(update={"done": done})
                self._epoch = done.epoch
                told |= {OBJECTIVE: done.value, "epoch": done.epoch, "done": reply.last}
        return told | {"reply": reply}

    def reset_config(self, new_config: dict[str, object]) -> bool:
        """Put the next trial in the mailbox."""
        self._assign(new_config)
        return True

    def cleanup(self) -> None:
        """Close the mailbox, which ends the run."""
        self._closing.set()
        self._mailbox.ask(Mailbox.close)
        if self._run.ident:
            self._run.join(CLOSE_TIMEOUT_S)


def last_error(text: str) -> str:
    """Cut from a traceback, or from several, the error that the last one ends with."""
    found = re.findall(r"^\w[\w.]*(?:Error|Exception|Interrupt)\b.*(?:\n(?!\w).*)*", text, re.M)
    return " ".join((found[-1] if found else text).split())[:MOST_CHARACTERS]
