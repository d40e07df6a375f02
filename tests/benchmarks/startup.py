"""Where the time of a short search goes: `python -m tests.benchmarks.startup [--repeats 3]`.

It runs a cold search of two trials of one epoch, without finalists, on the built-in base and
sentences, and prints wall and CPU time by phase and CPU time by process (medians). What trials
themselves take is the phase `trials`; all else is what a search costs beside them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from search.events.journal import read_journal
from search.events.types import EpochDone
from tests.benchmarks.search_speed.measure import EVERY_S, family_times

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "spaces" / "quick.yaml"
# What the command prints as it comes to a point -> the phase that ends there.
PRINTED = {
    "run folder: ": "imports, sentences, options",
    " trials on ": "Ray",
}
LANES, TRIALS, END = "lanes, base, first sentences", "trials", "end of lanes, export"
DAEMONS = ("gcs_server", "raylet", "dashboard", "runtime_env", "log_monitor", "monitor.py")


@dataclass(frozen=True)
class Run:
    """One search.

    Attributes:
        phases: name -> seconds of wall time and of CPU time of all processes.
        processes: kind -> CPU seconds.
    """

    phases: dict[str, tuple[float, float]]
    processes: dict[str, float]

    @property
    def outside_trials(self) -> float:
        """CPU seconds of all phases but that of the trials."""
        return sum(cpu for phase, (_, cpu) in self.phases.items() if phase != TRIALS)


def kind_of(command: str) -> str:
    """Name a process by what it was started for."""
    if command.startswith("ray::"):
        return command.split()[0].removeprefix("ray::").partition(".")[0].partition("(")[0]
    if "search.run" in command:
        return "the command"
    if any(name in command for name in DAEMONS):
        return "Ray's daemons"
    return "workers that were never taken" if "default_worker" in command else "other"


def measure(threads: int) -> Run:
    """Run the search, and note how far it is and what it has cost five times a second."""
    with tempfile.TemporaryDirectory(prefix="isogloss-startup-") as scratch:
        command = [
            sys.executable, "-m", "search.run", str(SPACE), "--output", scratch, "--name", "run",
            "--trials", "2", "--concurrency", "1", "--set", "search.scheduler.kind=none",
            "--set", "search.scheduler.max_epochs=1", "--set", "search.scheduler.grace_epochs=1",
            "--set", "search.finalists=null",
        ]  # fmt: skip
        environment = os.environ | {
            "ISOGLOSS_CACHE": f"{scratch}/cache", "OMP_NUM_THREADS": str(threads)
        }  # fmt: skip
        marks = {"": time.time()}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        lines: list[str] = []

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                for text, phase in PRINTED.items():
                    if text in line:
                        marks.setdefault(phase, time.time())

        reader = threading.Thread(target=read)
        reader.start()
        spent: dict[tuple[int, int], float] = {}
        names: dict[tuple[int, int], str] = {}
        samples = [(marks[""], 0.0)]
        ended = False
        while not ended:
            ended = process.poll() is not None
            for one, seconds in family_times(process.pid, spent):
                spent[one] = seconds
                names[one] = _command(one[0]) or names.get(one, "")
            samples.append((time.time(), sum(spent.values())))
            if not ended:
                time.sleep(EVERY_S)
        reader.join()
        if process.returncode:
            raise SystemExit("".join(lines))
        epochs = [
            event
            for event in read_journal(Path(scratch) / "run" / "journal.jsonl")
            if isinstance(event, EpochDone)
        ]
    marks[LANES] = min(epoch.began for epoch in epochs)
    marks[TRIALS] = max(epoch.ended for epoch in epochs)
    marks[END] = samples[-1][0]
    times = list(marks.values())
    moments, totals = zip(*samples, strict=True)
    costs = np.interp(times, moments, totals)
    processes: dict[str, float] = {}
    for one, seconds in spent.items():
        kind = kind_of(names[one])
        processes[kind] = processes.get(kind, 0.0) + seconds
    phases = zip(list(marks)[1:], np.diff(times).tolist(), np.diff(costs).tolist(), strict=True)
    return Run({phase: (wall, cpu) for phase, wall, cpu in phases}, processes)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def table(runs: list[Run]) -> str:
    """Medians in two tables in Markdown."""
    lines = ["| phase | wall s | CPU s |", "|---|---|---|"]
    for phase in runs[0].phases:
        wall, cpu = (median(run.phases[phase][side] for run in runs) for side in (0, 1))
        lines.append(f"| {phase} | {wall:.1f} | {cpu:.1f} |")
    whole = median(sum(cpu for _, cpu in run.phases.values()) for run in runs)
    walls = median(sum(wall for wall, _ in run.phases.values()) for run in runs)
    lines += [f"| all | {walls:.1f} | {whole:.1f} |"]
    outside = median(run.outside_trials for run in runs)
    lines += [f"| outside trials | | {outside:.1f} |", "", "| process | CPU s |", "|---|---|"]
    kinds = {kind: median(run.processes.get(kind, 0.0) for run in runs)
             for kind in {kind for run in runs for kind in run.processes}}  # fmt: skip
    lines += [f"| {kind} | {cpu:.1f} |" for kind, cpu in sorted(kinds.items(), key=lambda i: -i[1])]
    return "\n".join(lines)


def main() -> None:
    """Print where the time goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of each process (OMP_NUM_THREADS)")
    options = parser.parse_args()
    print(table([measure(options.threads) for _ in range(options.repeats)]))


if __name__ == "__main__":
    main()
