"""What a search costs here and with other tools, the same sixteen trials side by side.

    python -m tests.benchmarks.search_speed --size small|medium|long --json FILE [--repeats 3]

Every system trains the same trials from the same fresh weights on the same batches, one trial at a
time with one thread, and evaluates them in the same way. A system is a command of its own; its cost
is that of all processes it starts, loading and waiting included. Systems take turns within a
repeat. A run that was ended goes on where FILE ends; beside FILE a chart is drawn.

    P0             sentence-transformers' Trainer with Optuna
    P1             the same, as strong as it can be made on a CPU (P1 gradcache: the other way)
    P2             Ray Tune, a TorchTrainer a trial
    padded ... prefix     ours, a process a trial: no reuse; then packed sentences; then frozen
                          features; then states below the adapters
    cold, warm     ours, the command itself, with nothing stored, and with what that has stored

Beside the ratios stand what a search costs over its arithmetic limit, the matrix products that the
list needs at the rate of `torch.mm` before each run, and the CPU time that no trial spent.

Needs `pip install -e '.[dev]'`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.search_speed import measure, ours, peers, summary
from tests.benchmarks.search_speed.workload import SIZES, Workload, make

SYSTEMS = ("P0", "cold", "P1", "warm", "P2", "P1 gradcache", *ours.RUNGS)
STRENGTH: dict[str, peers.Strength] = {"P0": "default", "P1": "runs", "P1 gradcache": "gradcache"}
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def main() -> None:
    """Run what is missing in the file, and draw the chart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    # One system, or one trial of a rung, in a process of its own:
    for name in ("--system", "--alone"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    for name in ("--work", "--out"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(ours.train_alone(Workload(options.work), options.number, options.alone)))
    elif options.system:
        options.out.write_text(json.dumps(rows_of(Workload(options.work), options.system)))
    elif options.json is None:
        parser.error("--json FILE is missing")
    else:
        compare(options.size, options.json.resolve(), options.repeats, options.systems)


def rows_of(workload: Workload, system: str) -> list[dict[str, Any]]:
    """Run one system in this process; a row a trial."""
    import torch

    torch.set_num_threads(1)
    if system in STRENGTH:
        return peers.hyperparameter_search(workload, STRENGTH[system])
    if system == "P2":
        return peers.tune(workload)
    return ours.climb(workload, system)


def compare(name: str, file: Path, repeats: int, systems: list[str]) -> None:
    """Run every system so many times, in turns, writing down each run as it ends."""
    found: dict[str, Any] = {"size": name, "runs": []}
    if file.exists():
        found = json.loads(file.read_text())
    if found["size"] != name:
        raise SystemExit(f"{file} holds the size {found['size']}; --json must name another file")
    done = {(run["repeat"], run["system"]) for run in found["runs"]}
    with tempfile.TemporaryDirectory(prefix="isogloss-speed-") as scratch:
        workload = make(name, Path(scratch) / "work")
        found["machine"] = summary.machine()
        counts = summary.tokens(workload)
        found["padding"] = summary.padding(counts)
        found["ceiling"] = summary.ceiling(workload, counts)
        found["products"] = summary.products(workload, counts)
        for repeat in range(repeats):
            cache = Path(scratch) / f"cache-{repeat}"
            for system in (one for one in SYSTEMS if one in systems):
                if (repeat, system) in done:
                    continue
                if system == "warm" and not cache.exists():
                    _one(workload, "cold", cache, Path(scratch))
                run = _one(workload, system, cache, Path(scratch))
                found["runs"].append({"repeat": repeat, "system": system} | run)
                _write(file, found, workload)
                print(
                    f"repeat {repeat}: {system}: {run['cpu_s']:.1f} s of CPU time, "
                    f"{run['wall_s']:.1f} s, {run['peak_gb']:.2f} GB",
                    flush=True,
                )
    _write(file, found, workload)
    from tests.benchmarks.search_speed import chart

    chart.draw(found, file.with_suffix(".svg"))
    print(summary.table(found))


def _write(file: Path, found: dict[str, Any], workload: Workload) -> None:
    found |= summary.summarise(workload, found["runs"], found["products"])
    file.write_text(json.dumps(found, indent=1))


def _one(workload: Workload, system: str, cache: Path, scratch: Path) -> dict[str, Any]:
    """Run one system."""
    out = scratch / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    environment = THREADS | {"ISOGLOSS_CACHE": str(cache)}
    if system in ("cold", "warm"):
        if system == "cold":
            shutil.rmtree(cache, ignore_errors=True)
        space = workload.folder / "space.yaml"
        space.write_text(json.dumps(workload.space()))
        command = ["search.run", str(space), "--output", str(out), "--name", "run"]
    else:
        if system in ours.RUNGS:
            environment["ISOGLOSS_CACHE"] = str(out / "cache")
        command = ["tests.benchmarks.search_speed", "--system", system,
                   "--work", str(workload.folder), "--out", str(out / "rows.json")]  # fmt: skip
    rate = measure.mm_rate()
    cost = measure.run([sys.executable, "-m", *command], scratch / "log.txt", environment)
    if system in ("cold", "warm"):
        rows = ours.rows_of(out / "run" / "journal.jsonl", len(workload.trials))
        stored = sum(file.stat().st_size for file in cache.rglob("*.arrow"))
    else:
        rows = json.loads((out / "rows.json").read_text())
        stored = 0
    return {
        "cpu_s": cost.cpu_s,
        "wall_s": cost.wall_s,
        "peak_gb": cost.peak_gb,
        "stored_bytes": stored,
        "mm_flops_per_s": rate,
        "trials": rows,
    }


if __name__ == "__main__":
    main()
