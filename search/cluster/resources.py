"""How many lanes a cluster holds, and of what size."""

from __future__ import annotations

import os
from collections.abc import Sequence

from search.cluster.size import LanePlan, Node
from search.settings.problems import InputError
from search.settings.sections import LaneSettings, SearchSettings

# More lanes than this a machine, on CPUs alone, would each train on too few threads.
MOST_CPU_LANES = 8


def plan_lanes(
    settings: LaneSettings, search: SearchSettings, clusters: Sequence[Sequence[Node]]
) -> LanePlan:
    """Fit lanes to a cluster.

    GPUs are used where there are any, one a worker. The CPUs of the machines that workers run on
    are shared out among these.

    Args:
        clusters: the machines there are, and those that the cluster may grow to; the plan is made
            for the one that holds more.

    Raises:
        InputError: not even one lane, or not as many as asked for, fit.
    """
    workers = settings.workers
    gpus = settings.gpus
    if gpus is None:
        gpus = int(any(node.gpus >= 1 for nodes in clusters for node in nodes))
    least = settings.cpus or 1

    def fit(nodes: Sequence[Node], cpus: int) -> int:
        return sum(node.holds(cpus, gpus) for node in nodes) // workers

    nodes = max(clusters, key=lambda nodes: fit(nodes, least))
    lanes = fit(nodes, least)
    there = ", ".join(map(str, nodes))
    size = LanePlan(1, workers, least, gpus)
    if gpus and not any(node.gpus for node in nodes):
        raise InputError.of("lane.gpus", f"is {gpus}; it must be 0, for there is no GPU: {there}")
    if lanes == 0:
        fit_alone = any(node.holds(least, gpus) for node in nodes)
        wide_enough = any(node.cpus >= least for node in nodes)
        name = "workers" if fit_alone else "gpus" if wide_enough else "cpus"
        value = {"workers": workers, "gpus": gpus, "cpus": least}[name]
        raise InputError.of(
            f"lane.{name}",
            f"is {value}, so that a lane needs {size.workers_text}; it must fit what there is: "
            f"{there}",
        )
    wanted = search.concurrency
    if wanted is not None and wanted > lanes:
        raise InputError.of(
            "search.concurrency",
            f"is {wanted}; it must be at most {lanes}, the lanes of {size.workers_text} that fit: "
            f"{there}",
        )
    if not gpus and settings.cpus is None:
        lanes = min(lanes, MOST_CPU_LANES * len(nodes))
    lanes = min(wanted or lanes, search.trials or lanes)
    cpus = least
    if settings.cpus is None:
        while fit(nodes, cpus + 1) >= lanes:
            cpus += 1
    return LanePlan(lanes, workers, cpus, gpus)


def local_node() -> Node:
    """This machine: the CPUs that this process may use, and its GPUs."""
    import torch  # a lane, which reads the plan here, has no need of it

    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return Node(cpus, torch.cuda.device_count())
