"""The size of a lane and of a machine.

Nothing here imports torch: a lane has no use for it.
"""

from __future__ import annotations

from dataclasses import dataclass


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
