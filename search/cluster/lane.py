"""The Tune trainable that owns a Ray Train run; trials pass through it one after another."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import ray
from ray import tune
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.cluster.mailbox import TrialMailbox
from search.cluster.scheduling import OBJECTIVE
from search.events.replies import EpochReply, LaneLost, Reply, ScoredReply, TrialFailed, TrialSpec

if TYPE_CHECKING:
    from ray.actor import ActorHandle

# Lanes only pass messages, so they take no CPU. This resource, which every head node has, keeps
# them on the node that is not a spot instance.
LANE_RESOURCES = {"CPU": 0, "node:__internal_head__": 0.0001}
CLOSE_TIMEOUT_S = 60.0


class WorkerSettings(TypedDict):
    """What the workers of a lane are given.

    Attributes:
        mailbox: of the lane.
        corpora: references of the tokenised corpora ``train``, ``validation`` and, where there is
            one, ``test``; and of ``text``, that of the first, where a trial may ask for other
            models.
        session: `SessionSettings` as plain data.
        threads: of torch, in each worker.
        folder: which relative paths start from.
    """

    mailbox: ActorHandle
    corpora: dict[str, ray.ObjectRef]
    session: dict[str, object]
    threads: int
    folder: str


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
        run_folder: where checkpoints go.
        run_node: Ray's id of the node that holds the run folder.
        scratch: where Ray Train may keep files of its own.
        workers, cpus, gpus: processes, and CPUs and GPUs of each.
        start_attempts: how often the workers may fail to be placed, a minute each.
        work: plain settings for the workers.
        corpora: name of a part of the sentences -> its object reference.
    """

    name: str
    run_folder: str
    run_node: str
    scratch: str
    workers: int
    cpus: int
    gpus: int
    start_attempts: int
    work: dict[str, object]
    corpora: dict[str, object]


class Lane(tune.Trainable):
    """Keep one Ray Train run alive across trials.

    A TorchTrainer in every trial, as Ray's guide has it, would cost 11 to 21 seconds and eight
    processes a trial. Here the run is started once and ends with the lane.
    """

    def setup(self, config: dict[str, object], lane: LaneSetup | None = None) -> None:
        """Put the first trial in the mailbox."""
        assert lane is not None
        here = NodeAffinitySchedulingStrategy(lane.run_node, soft=False)
        folder = str(Path(lane.run_folder) / "trials")
        self._mailbox = TrialMailbox.options(scheduling_strategy=here).remote(folder, lane.scratch)
        self._assign(config)
        self._lane = lane
        # Started by the first step: Tune also makes lanes that it then finds no use for.
        self._run = threading.Thread(target=self._fit, daemon=True)

    def _assign(self, config: dict[str, object]) -> None:
        ray.get(self._mailbox.assign.remote(TrialSpec(**config)))

    def _fit(self) -> None:
        lane = self._lane
        resources = {"CPU": lane.cpus} | ({"GPU": lane.gpus} if lane.gpus else {})
        message = "the lane's Ray Train run ended early"
        try:
            TorchTrainer(
                work,
                train_loop_config={"mailbox": self._mailbox, "corpora": lane.corpora} | lane.work,
                scaling_config=ScalingConfig(
                    num_workers=lane.workers,
                    use_gpu=lane.gpus > 0,
                    resources_per_worker=resources,
                ),
                run_config=RunConfig(
                    name=f"{lane.name}-lane-{os.getpid()}",
                    storage_path=lane.scratch,
                    failure_config=FailureConfig(
                        max_failures=-1,  # the mailbox counts what one trial may cost
                        controller_failure_limit=lane.start_attempts,
                    ),
                ),
            ).fit()
        except Exception as error:  # whatever it is, it must reach the driver as data
            message = " ".join(str(error).split())[-500:]
        self._mailbox.abort.remote(message, fatal=False)

    def step(self) -> dict[str, object]:
        """The next result of the trial in the mailbox."""
        if not self._run.ident:
            self._run.start()
        reply: Reply = ray.get(self._mailbox.next_result.remote())
        told: dict[str, object] = {OBJECTIVE: float("nan"), "epoch": 0, "done": True}
        match reply:
            case LaneLost():
                raise RuntimeError(reply.message)  # Tune starts another lane for this trial
            case ScoredReply():
                pass  # its scores are in the reply
            case TrialFailed():
                told["epoch"] = reply.epoch
            case EpochReply():
                done = reply.done.model_copy(update={"lane": os.getpid()})
                reply = reply.model_copy(update={"done": done})
                told |= {OBJECTIVE: done.value, "epoch": done.epoch, "done": reply.last}
        return told | {"reply": reply}

    def reset_config(self, new_config: dict[str, object]) -> bool:
        """Put the next trial in the mailbox."""
        self._assign(new_config)
        return True

    def cleanup(self) -> None:
        """Close the mailbox, which ends the run."""
        ray.get(self._mailbox.close.remote())
        if self._run.ident:
            self._run.join(CLOSE_TIMEOUT_S)
