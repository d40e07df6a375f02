"""What the autoscaler of a cluster may add, and asking it for what a search needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.autoscaler import sdk
from ruamel.yaml import YAML

from search.cluster.size import LanePlan, Node
from search.cluster.watch import MOST_WAIT_S

SETTLE_S = 60.0  # after a machine has joined, for the next one
FLAG = "--autoscaling-config="
# Every head node has this resource: a task that takes a little of it runs there.
ON_HEAD = {"node:__internal_head__": 0.0001}


def growth(tell: Callable[[str], None], asked: Callable[[], bool]) -> list[Node]:
    """The machines that the cluster may come to have; none where it has no autoscaler.

    Open-source Ray tells nobody what its autoscaler was given (`get_cluster_config` is filled on
    Anyscale and where KubeRay sets it), so the file that `ray up` put on the head is read there.
    Where it does not say what the machines will have, this waits until they have joined, and there
    are none to come.

    Args:
        tell: called with what is waited for.
        asked: whether to stop waiting.
    """
    config = ray._private.state.state.get_cluster_config()
    groups = list(config.node_group_configs) if config is not None else []
    if groups:
        nodes = [
            Node(group.resources.get("CPU", 0), group.resources.get("GPU", 0))
            for group in groups
            for _ in range(max(group.max_count, 0))
        ]
        return [*head_alone(), *nodes]
    address = ray.get_runtime_context().gcs_address
    read = ray.remote(num_cpus=0, resources=ON_HEAD)(read_autoscaling_config)
    found = ray.get(read.remote(address))
    if not found:
        return []
    if count := undescribed(found):
        wait_for_workers(count, tell, asked)
        return []
    return machines(found)


def undescribed(config: Mapping[str, Any]) -> int:
    """How many workers a cluster file starts at once without saying what they have.

    Of machines of one's own (the provider ``local``) Ray knows that when they have joined.
    """
    kinds = config.get("available_node_types", {}).values()
    return sum(int(kind.get("min_workers", 0)) for kind in kinds if not kind.get("resources"))


def wait_for_workers(count: int, tell: Callable[[str], None], asked: Callable[[], bool]) -> None:
    """Wait until so many machines have joined the head, or some, and no other one for a minute."""
    ends = time.monotonic() + MOST_WAIT_S
    there, settled = -1, ends
    while not asked():
        alive = sum(node["Alive"] for node in ray.nodes()) - len(head_alone())
        now = time.monotonic()
        if alive != there:
            there, settled = alive, now + SETTLE_S if alive else ends
            if there < count:
                tell(f"waiting for {count} machines of the cluster: {there} there")
        if there >= count or now >= settled:
            return
        time.sleep(1.0)


def head_alone() -> list[Node]:
    """The head node of the cluster that this process is connected to."""
    return [
        Node(have.get("CPU", 0), have.get("GPU", 0))
        for have in (node["Resources"] for node in ray.nodes() if node["Alive"])
        if "node:__internal_head__" in have
    ]


def read_autoscaling_config(gcs_address: str) -> dict[str, object] | None:
    """Read the file that the autoscaler of a cluster was started with; None where there is none.

    It is named on the command line of Ray's monitor, a process of the head node.
    """
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:  # it has ended, or is somebody else's
            continue
        if f"--gcs-address={gcs_address}" not in line:
            continue
        for argument in line:
            if argument.startswith(FLAG):
                file = Path(argument.removeprefix(FLAG)).expanduser()
                loaded = YAML(typ="safe").load(file)
                return loaded if isinstance(loaded, dict) else None
    return None


def machines(config: Mapping[str, Any]) -> list[Node]:
    """The head and the workers that a cluster file allows, those with most GPUs first.

    Of several types with as many GPUs, those with fewer CPUs: a lane that is planned for them fits
    all. Without GPUs, those with more.
    """
    head = config.get("head_node_type")
    most = int(config.get("max_workers", 0))
    nodes, workers = [], []
    for name, kind in config.get("available_node_types", {}).items():
        have = kind.get("resources", {})
        node = Node(have.get("CPU", 0), have.get("GPU", 0))
        if name == head:
            nodes.append(node)
        workers += [node] * min(int(kind.get("max_workers", most)), most)
    workers.sort(key=lambda node: (-node.gpus, node.cpus if node.gpus else -node.cpus))
    return nodes + workers[:most]


@contextmanager
def requested(plan: LanePlan) -> Iterator[None]:
    """Ask the autoscaler for all workers of a plan at once, and take the request back afterwards.

    Without it, machines come as Ray Train's placement groups wait for them, and may go while a
    lane is between two trials.
    """
    bundle = {"CPU": plan.cpus} | ({"GPU": plan.gpus} if plan.gpus else {})
    sdk.request_resources(bundles=[bundle] * (plan.lanes * plan.workers))
    try:
        yield
    finally:
        sdk.request_resources(bundles=[])
