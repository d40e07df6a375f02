"""What a command costs: CPU time, wall time and memory of it and of all that it starts (Linux)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

EVERY_S = 0.2
MEMORY_EVERY = 10  # samples of CPU time for one of memory, which takes longer
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        cpu_s: of all its processes, user and system.
        wall_s: from start to end.
        peak_gb: the most memory of all its processes at a time, shared pages counted once.
    """

    cpu_s: float
    wall_s: float
    peak_gb: float


def run(command: Sequence[str], log: Path, environment: dict[str, str]) -> Cost:
    """Run a command to its end.

    The processes of a Ray session outlive their parents, so their times are read while they run: a
    fifth of a second at the end of each may be missed, and one whose parent ends within a fifth of
    a second of starting it. They are read from /proc in one pass: psutil, with an object for each
    process, would take several percent of a core beside a search that has many.

    Raises:
        SystemExit: it failed.
    """
    spent: dict[tuple[int, int], float] = {}  # process, and when it started -> seconds
    peak, sample = 0.0, 0
    start = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | environment
        )
        ended = False
        while not ended:
            ended = process.poll() is not None
            times = family_times(process.pid, spent)
            spent.update(times)
            alive = {pid for (pid, _), _ in times}
            if sample % MEMORY_EVERY == 0:
                peak = max(peak, sum(map(_memory, alive)) / 1e9)
            sample += 1
            if not ended:
                time.sleep(EVERY_S)
    wall = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}; see {log}")
    return Cost(sum(spent.values()), wall, peak)


def family_times(
    root: int, known: Collection[tuple[int, int]]
) -> list[tuple[tuple[int, int], float]]:
    """CPU seconds of a process, of all that it started, and of those known from earlier calls.

    Each is given by its number and when it started.
    """
    alive, found = {root}, []
    for pid, parent, started, seconds in _processes():  # parents come before children
        if pid == root or parent in alive or (pid, started) in known:
            alive.add(pid)
            found.append(((pid, started), seconds))
    return found


def run_alone(command: Sequence[str], log: Path, environment: dict[str, str]) -> Cost:
    """Run a command that waits for every process it starts, and ask the system for its cost.

    That takes nothing while it runs; `peak_gb` is that of its largest process.

    Raises:
        SystemExit: it failed.
    """
    start = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | environment
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}; see {log}")
    return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss * 1024 / 1e9)


def _processes() -> Iterator[tuple[int, int, int, float]]:
    """Of each process its number, its parent's, when it started, and its seconds of CPU time."""
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        with suppress(OSError):
            # proc_pid_stat(5); the name, in brackets, may hold blanks.
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            seconds = (int(fields[11]) + int(fields[12])) * TICK_S
            yield pid, int(fields[1]), int(fields[19]), seconds


def _memory(pid: int) -> int:
    """Bytes of a process, a shared page counted in part."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def mm_rate(rows: int = 2048, width: int = 512, out: int = 1024) -> float:
    """FLOPs a second of `torch.mm` in float32 with one thread: the median of seven turns.

    Args:
        rows, width, out: by default the tokens of a step and a layer of the larger base.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        left, right = torch.randn(rows, width), torch.randn(width, out)
        found = []
        for _ in range(8):
            start = time.process_time()
            for _ in range(10):
                torch.mm(left, right)
            found.append(10 * 2 * rows * width * out / (time.process_time() - start))
        return median(found[1:])
    finally:
        torch.set_num_threads(before)
