"""How many lanes a cluster holds, and of what size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from search.settings.problems import InputError
from search.settings.sections import LaneSettings, SearchSettings

# More lanes than this a machine, on CPUs alone, would each train on too few threads.
MOST_CPU_LANES = 8


@dataclass(frozen=True)
class LanePlan:
    """Lanes, workers a lane, and CPUs and GPUs a worker."""

    lanes: int
    workers: int
    cpus: int
    gpus: int

    def __str__(self) -> str:
        return f"{self.lanes} lane{'s' * (self.lanes > 1)} of {self.workers_text}"

    @property
    def workers_text(self) -> str:
        """The size of one lane in words."""
        return f"{self.workers} worker{'s' * (self.workers > 1)} with {self.size}"

    @property
    def size(self) -> str:
        """What one worker takes, in words."""
        return f"{self.cpus} CPU" + (f" and {self.gpus} GPU" if self.gpus else "")


@dataclass(frozen=True)
class Node:
    """What one machine has for Ray."""

    cpus: float
    gpus: float = 0.0

    def __str__(self) -> str:
        return f"{self.cpus:g} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")

    def holds(self, cpus: int, gpus: int) -> int:
        """How many workers of that size fit."""
        by_cpu = int(self.cpus // cpus)
        return min(by_cpu, int(self.gpus // gpus)) if gpus else by_cpu


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
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return Node(cpus, torch.cuda.device_count())
