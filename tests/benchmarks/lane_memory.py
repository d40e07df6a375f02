"""What a lane costs the head: ``python -m tests.benchmarks.lane_memory [--lanes 2 16]``.

Starts a head without CPUs and one machine with as many CPUs as there are lanes, lets a search fill
them, and counts what Ray runs on the head then and did not run before. Memory is the proportional
set size: pages that processes share count once.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence

import psutil

from tests.cluster.machines import SPACE, Machine, machines
from tests.cluster.scenario import SEARCH, Scenario

MB = 1e6


def measure(machine: Machine) -> tuple[Counter[str], float]:
    """Ray's processes on a machine by title, and their memory in MB."""
    titles: Counter[str] = Counter()
    memory = 0.0
    for process in machine.processes():
        try:
            memory += process.memory_full_info().pss / MB
            titles[_title(process.cmdline())] += 1
        except psutil.NoSuchProcess:
            continue
    return titles, memory


def _title(line: Sequence[str]) -> str:
    words = " ".join(line).split()
    return " ".join(words[:2]).rstrip("0123456789: ") if words else ""


def main() -> None:
    """Print processes and memory a lane for each number of lanes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lanes", type=int, nargs="+", default=[2, 16])
    print("| lanes | processes a lane | MB a lane | MB of all | processes |\n|---|---|---|---|---|")
    for lanes in parser.parse_args().lanes:
        with machines(1, cpus=lanes) as cluster:
            before, unloaded = measure(cluster.head)
            search = Scenario(cluster, "lanes", f"{SPACE}{SEARCH}lane: {{cpus: 1}}\n")
            search.start("--concurrency", str(lanes))
            search.wait_for_lanes(lanes)
            after, loaded = measure(cluster.head)
            search.end()
        added = after - before
        listed = ", ".join(f"{count} {title}" for title, count in added.most_common(6))
        each = (loaded - unloaded) / lanes
        print(
            f"| {lanes} | {added.total() / lanes:.1f} | {each:.0f} | {loaded - unloaded:.0f} | "
            f"{listed} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
