"""The Ray Train run of a lane: its controller lives in the lane, its workers where Tune has room.

Ray's `TorchTrainer` starts five actors a run beside the workers, imports torch in two of them, and
makes a placement group of its own, which outlives a lane that is killed. Here the controller runs
in the lane's process, and the workers take the placement group of the lane, which Tune makes and
removes: no lane is started before there is room for all of its workers.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import ray
from ray.exceptions import RayActorError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2._internal.callbacks import AcceleratorSetupCallback, BackendSetupCallback
from ray.train.v2._internal.exceptions import (
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.train.v2._internal.execution.callback import RayTrainCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup, WorkerGroupPollStatus
from ray.train.v2._internal.execution.worker_group.placement_group_handle import (
    PlacementGroupHandle,
)
from ray.train.v2._internal.execution.worker_group.worker import RayTrainWorker, Worker
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.placement_group import PlacementGroup, placement_group_table

from search.cluster.connection import STANDSTILL_S
from search.cluster.process_group import ProcessGroupConfig
from search.cluster.size import LanePlan

POLL_S = 0.5
SETTLE_S = 1.0  # a machine that goes may take its workers first
ANSWER_S = 3.0  # for the raylet of a machine

S = TypeVar("S")
# Told of a lost worker: what happened, and whether its machine was lost with it.
OnLoss = Callable[[str, bool], None]


class LanePlace(PlacementGroupHandle):
    """The room of a lane: bundle 0 holds the lane itself, each other one a worker.

    Args:
        closing: set when the lane ends, so that nothing is waited for.
    """

    def __init__(self, closing: threading.Event) -> None:
        group = ray.util.get_current_placement_group()
        assert group is not None, "Tune starts lanes in placement groups"
        self._group = group
        self._closing = closing

    @property
    def placement_group(self) -> PlacementGroup:
        """The placement group of the lane."""
        return self._group

    def ready(self) -> object:
        """Reference that is ready when the room is."""
        return self._group.ready()

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Wait until every bundle is on a machine that is there; lost ones are placed anew."""
        ends = time.monotonic() + timeout_seconds
        while not self._is_whole():
            if self._closing.wait(POLL_S) or time.monotonic() > ends:
                return False
        return True

    def _is_whole(self) -> bool:
        table = placement_group_table(self._group)
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        return table["state"] == "CREATED" and set(table["bundles_to_node_id"].values()) <= alive

    def shutdown(self) -> None:
        """Keep the room: it is the lane's, for the workers that come next."""


class LaneWorker(RayTrainWorker):
    """A worker of a lane, by the number of which the dashboard and `ps` show it."""

    lane = 0

    def __repr__(self) -> str:
        return f"lane {self.lane}: worker"


class LaneWorkerGroup(WorkerGroup):
    """The workers of a lane, in its room."""

    closing: threading.Event

    def _create_placement_group(
        self, scaling_config: object, worker_group_context: object
    ) -> LanePlace:
        return LanePlace(self.closing)

    def _create_workers(
        self, num_workers: int, placement_group: PlacementGroup, *args: object, **settings: object
    ) -> list[Worker]:
        settings["placement_group_bundle_indices"] = list(range(1, num_workers + 1))
        workers: list[Worker] = super()._create_workers(
            num_workers, placement_group, *args, **settings
        )
        return workers


class LossWatch(WorkerGroupCallback):
    """Tells of each worker that is lost, with its rank, process and machine."""

    def __init__(self, on_loss: OnLoss) -> None:
        self._on_loss = on_loss
        self._workers: list[Worker] = []

    def after_worker_group_start(self, worker_group: WorkerGroup) -> None:
        """Remember who they are."""
        self._workers = list(worker_group.get_workers())

    def after_worker_group_poll_status(self, status: WorkerGroupPollStatus) -> None:
        """Look for losses."""
        for rank, error in status.errors.items():
            if rank >= len(self._workers) or not is_loss(error):
                continue
            who = self._workers[rank].metadata
            machine_lost = is_lost(who.node_id)
            what = explain_loss(error, machine_lost)
            self._on_loss(f"rank {rank} (process {who.pid} on {who.node_ip}) {what}", machine_lost)


def is_lost(machine: str) -> bool:
    """Whether a machine of the cluster is gone, of which Ray may know nothing yet.

    Ray's error does not tell: it speaks of nodes that die where only a process has, and where a
    machine goes, its processes may be seen to end first. So its raylet is called.

    Args:
        machine: its identifier in the cluster.
    """
    time.sleep(SETTLE_S)
    found = (node for node in ray.nodes() if node["NodeID"] == machine and node["Alive"])
    node = next(found, None)
    if node is None:
        return True
    try:
        place = node["NodeManagerAddress"], int(node["NodeManagerPort"])
        socket.create_connection(place, ANSWER_S).close()
    except OSError:
        return True
    return False


def is_loss(error: Exception) -> bool:
    """Whether a worker does not answer or is gone; it may also have raised an error."""
    if isinstance(error, WorkerHealthCheckFailedError):
        return isinstance(error.health_check_failure, RayActorError)
    return isinstance(error, WorkerHealthCheckTimeoutError)


def explain_loss(error: Exception, machine_lost: bool) -> str:
    """Say what became of a worker."""
    if machine_lost:
        return "went with its machine"
    if isinstance(error, WorkerHealthCheckTimeoutError):
        return f"has not answered for {STANDSTILL_S} s"
    return "was killed or crashed, as when memory runs out"


class LaneSize(FixedScalingPolicy):
    """The number of workers of a lane, which never changes.

    Ray Train's own policy would start an actor that asks the autoscaler for machines, in place of
    what the search has asked it for.
    """

    def after_controller_start(self, train_run_context: object) -> None:
        """Ask for nothing."""

    def _maybe_send_resource_request(self) -> None:
        """Ask for nothing."""


class LaneController(TrainController):
    """The controller of a lane's run, in the lane's own process."""

    def __init__(self, lane: int, closing: threading.Event, **settings: object) -> None:
        worker = type(LaneWorker.__name__, (LaneWorker,), {"lane": lane})
        own = {"closing": closing, "_worker_cls": worker}
        self.worker_group_cls = type(LaneWorkerGroup.__name__, (LaneWorkerGroup,), own)
        super().__init__(**settings)


class LaneTrainer(DataParallelTrainer):
    """Runs a function in the workers of a lane until it returns.

    Args:
        work: what each worker runs, with ``settings``.
        lane: its number.
        storage: folder for files of Ray Train's own; nothing is kept there.
        plan: the size of a lane.
        closing: set when the lane ends.
        on_loss: told of lost workers.
    """

    def __init__(
        self,
        work: Callable[[S], None],
        settings: S,
        *,
        lane: int,
        name: str,
        storage: str,
        plan: LanePlan,
        closing: threading.Event,
        on_loss: OnLoss,
    ) -> None:
        resources = {"CPU": plan.cpus} | ({"GPU": plan.gpus} if plan.gpus else {})
        super().__init__(
            work,
            train_loop_config=settings,
            backend_config=ProcessGroupConfig(),
            scaling_config=ScalingConfig(
                num_workers=plan.workers, use_gpu=plan.gpus > 0, resources_per_worker=resources
            ),
            run_config=RunConfig(
                name=f"{name}-lane-{lane}",
                storage_path=storage,
                failure_config=FailureConfig(
                    max_failures=-1,  # the mailbox counts what one trial may cost
                    controller_failure_limit=0,  # without room, the trial goes to another lane
                ),
            ),
        )
        self._lane = lane
        self._closing = closing
        self._on_loss = on_loss

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        """Only what a lane needs: no data sets, no placement group, no metrics of Ray Train."""
        return [
            AcceleratorSetupCallback(self.backend_config, self.scaling_config),
            BackendSetupCallback(self.backend_config),
            LossWatch(self._on_loss),
        ]

    def _initialize_and_run_controller(self, **settings: object) -> object:
        settings["scaling_policy"] = LaneSize(self.scaling_config)
        controller = LaneController(self._lane, self._closing, **settings)
        asyncio.run(controller.run())
        return controller.get_result()
