"""How the workers of a lane find each other: torch's process group, without torch in the lane."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import TYPE_CHECKING

import psutil
import ray
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig

if TYPE_CHECKING:
    from ray.train.v2._internal.execution.worker_group import WorkerGroup

# Of one collective. Workers that wait for a trial meet more often than that.
COLLECTIVE_S = 1800


class ProcessGroup(Backend):
    """Joins the workers of a lane in a process group, if there are several."""

    # The GPUs of all workers of a machine are visible to each, as NCCL needs it between them.
    share_cuda_visible_devices = True

    def on_start(self, worker_group: WorkerGroup, backend_config: BackendConfig) -> None:
        """Join the workers."""
        if len(worker_group) == 1:
            return
        host, port = worker_group.execute_single(0, get_address_and_port)
        gpu = worker_group.get_resources_per_worker().get("GPU", 0) > 0
        ray.get([
            worker_group.execute_single_async(rank, join, rank, len(worker_group), host, port, gpu)
            for rank in range(len(worker_group))
        ])  # fmt: skip


class ProcessGroupConfig(BackendConfig):
    """Names the backend to Ray Train."""

    @property
    def backend_cls(self) -> type[ProcessGroup]:
        """The backend."""
        return ProcessGroup


def join(rank: int, size: int, host: str, port: int, gpu: bool) -> None:
    """Join the process group of a lane; runs in a worker.

    Small objects and flags go through gloo on the CPU, so that they wait for no GPU.
    """
    from torch.distributed import init_process_group

    os.environ |= {"MASTER_ADDR": host, "MASTER_PORT": str(port)}
    if interface := interface_of(ray.util.get_node_ip_address()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    init_process_group(
        backend="cpu:gloo,cuda:nccl" if gpu else "gloo",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=COLLECTIVE_S),
    )


def interface_of(address: str) -> str | None:
    """Name the network interface of this machine that has an address; None where none has it.

    Gloo takes the one that the machine's own name stands for, unless it is told. On many machines
    that is the loopback interface, by which no worker of another machine can be reached.
    """
    name: str
    for name, addresses in psutil.net_if_addrs().items():
        of_ip = [a.address for a in addresses if a.family in (socket.AF_INET, socket.AF_INET6)]
        if address in (one.partition("%")[0] for one in of_ip):  # after it, an IPv6 zone
            return name
    return None
