"""What a command costs: CPU time, wall time and memory of it and of all that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

EVERY_S = 0.2
MEMORY_EVERY = 10  # samples of CPU time for one of memory, which takes longer


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        cpu_s: of all its processes, user and system.
        wall_s: from start to end.
        peak_gb: the most memory of all its processes at a time, shared pages counted once
            (Linux).
    """

    cpu_s: float
    wall_s: float
    peak_gb: float


def run(command: Sequence[str], log: Path, environment: dict[str, str]) -> Cost:
    """Run a command to its end.

    The processes of a Ray session outlive their parents, so their times are read while they run: a
    fifth of a second at the end of each may be missed.

    Raises:
        SystemExit: it failed.
    """
    spent: dict[tuple[int, float], float] = {}
    peak = 0.0
    start = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | environment
        )
        known = {psutil.Process(process.pid)}
        for sample in range(sys.maxsize):
            ended = process.poll() is not None
            parents = {one.pid for one in known}
            for one in psutil.process_iter():  # in order of their numbers: parents come first
                with suppress(psutil.Error):
                    if one.ppid() in parents:
                        known.add(one)
                        parents.add(one.pid)
            memory = 0
            for one in known.copy():
                try:
                    with one.oneshot():
                        times = one.cpu_times()
                        spent[one.pid, one.create_time()] = times.user + times.system
                    if sample % MEMORY_EVERY == 0:
                        memory += one.memory_full_info().pss
                except psutil.Error:
                    known.discard(one)
            peak = max(peak, memory / 1e9)
            if ended:
                break
            time.sleep(EVERY_S)
    wall = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}; see {log}")
    return Cost(sum(spent.values()), wall, peak)
