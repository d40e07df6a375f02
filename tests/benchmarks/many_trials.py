"""What a trial costs beside its own work: `python -m tests.benchmarks.many_trials [--trials 1000]`.

Runs the command on a base and a corpus so small that a trial takes a few milliseconds, and watches
the memory of the process that drives the search.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from search.events.journal import read_journal
from search.events.types import EpochDone
from tests.benchmarks.search_speed.workload import make_decoder

EVERY_S = 0.5


def space(folder: Path, trials: int, sampler: str) -> dict[str, Any]:
    """A small space over small trials."""
    return {
        "search": {
            "trials": trials,
            "sampler": {"kind": sampler},
            "scheduler": {"kind": "none", "max_epochs": 1},
        },
        "data": {
            "train": str(folder / "train.parquet"),
            "validation": str(folder / "validation.parquet"),
        },
        "base": {"model": str(folder / "base"), "dtype": "float32"},
        "pooling": {"choice": [{"kind": "mean"}, {"kind": "max"}]},
        "head": {"kind": "linear", "width": {"int": [4, 32]}},
        "optimizer": {"lr": {"float": [1e-4, 1e-2], "log": True}},
        "training": {"batch_size": 8},
    }


def main() -> None:
    """Run the search and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--sampler", default="random", choices=("random", "tpe"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="isogloss-many-") as scratch:
        folder = Path(scratch)
        make_decoder(folder / "base", layers=1, width=64)
        for part, name in enumerate(("train", "validation")):
            rows = {
                language: [f"t{8 * part + i} t{i + j} t{j}" for i in range(8)]
                for j, language in enumerate(("en", "de"))
            }
            pq.write_table(pa.table(rows), folder / f"{name}.parquet")
        file = folder / "space.yaml"
        file.write_text(json.dumps(space(folder, options.trials, options.sampler)))
        command = ["-m", "search.run", str(file), "--output", str(folder), "--name", "run"]
        environment = os.environ | {"ISOGLOSS_CACHE": str(folder / "cache")}
        journal = folder / "run" / "journal.jsonl"
        memory: dict[int, float] = {}
        with (folder / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *command], stdout=log, stderr=log, env=environment
            )
            driver = psutil.Process(process.pid)
            while process.poll() is None:
                if journal.exists():
                    ended = journal.read_bytes().count(b'"event":"end"')
                    memory[ended] = driver.memory_full_info().uss / 1e6
                time.sleep(EVERY_S)
        if process.returncode:
            raise SystemExit((folder / "log.txt").read_text())
        reports = [event for event in read_journal(journal) if isinstance(event, EpochDone)]
    ends = sorted(event.ended for event in reports)
    busy = sorted(event.seconds for event in reports)[len(reports) // 2]
    span = ends[-1] - ends[0]
    for ended in sorted(memory)[:: max(1, len(memory) // 10)]:
        print(f"{ended} trials ended: the driver holds {memory[ended]:.0f} MB")
    # After the last trial the best one is exported, which takes memory of its own.
    running = {ended: held for ended, held in memory.items() if 100 <= ended < options.trials}
    first = min(running)
    growth = max(running.values()) - running[first]
    print(
        f"{len(reports)} trials of {1000 * busy:.0f} ms (median) in {span:.1f} s: "
        f"{1000 * span / (len(reports) - 1):.0f} ms a trial in all; the driver held "
        f"{running[first]:.0f} MB after {first} trials and {growth:.0f} MB more at most after that"
    )


if __name__ == "__main__":
    main()
