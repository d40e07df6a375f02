"""The same sixteen trials with Isogloss: a ladder of what it does, below the command itself.

The rungs ``padded``, ``unpadded``, ``frozen`` and ``prefix`` run each trial in a process of its
own, as a search without lanes would. The command, `search.run`, adds the lanes.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from components.base import load
from search.events.journal import read_journal
from search.events.types import EpochDone
from search.features import FeaturePlan, Features, open_features
from search.settings.sections import CacheSettings
from search.training.loop import train
from tests.benchmarks.search_speed.workload import Workload

RUNGS = ("padded", "unpadded", "frozen", "prefix")


def climb(workload: Workload, rung: str) -> list[dict[str, Any]]:
    """Each trial in a process of its own; a row a trial."""
    rows = []
    for number in range(len(workload.trials)):
        start = time.perf_counter()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        out = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.search_speed", "--alone", rung,
             "--number", str(number), "--work", str(workload.folder)],
            check=True, stdout=subprocess.PIPE, text=True,
        ).stdout  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        row = json.loads(out.splitlines()[-1])
        rows.append(row | {"cpu_s": cpu, "wall_s": time.perf_counter() - start})
    return rows


def train_alone(workload: Workload, number: int, rung: str) -> dict[str, Any]:
    """One trial: its accuracy, the losses of its epochs, and the CPU seconds of its training."""
    torch.set_num_threads(1)
    config = workload.config(workload.trials[number])
    base = load(config.base)
    if rung == "padded":
        base.model.set_attn_implementation("sdpa")
        base.position_offset = None
    corpora = workload.corpora(base.tokenize)
    features = _features(workload, config.base, base, rung)
    cpu, wall = time.process_time(), time.perf_counter()
    reports = list(
        train(config, base, *corpora, max_epochs=workload.size.epochs, features=features)
    )
    return {
        "accuracy": reports[-1].scores.accuracy,
        "losses": [report.loss for report in reports],
        "busy_cpu_s": time.process_time() - cpu,
        "busy_s": time.perf_counter() - wall,
        "start": reports[-1].start,
    }


def _features(workload: Workload, config: Any, base: Any, rung: str) -> Features | None:
    if rung not in ("frozen", "prefix"):
        return None
    trials = workload.trials
    depth = base.depth
    last = sorted({int(t.last) for t in trials if t.rank and t.last != "all"})
    boundaries = [*(depth - n for n in reversed(last) if rung == "prefix"), depth]
    training = workload.config(trials[0]).training
    read = [workload.config(trial).pooling.build(base.width).statistics for trial in trials]
    statistics = sorted(frozenset().union(*(names for names in read if names is not None)))
    plan = FeaturePlan(tuple(boundaries), tuple(statistics))
    found = open_features(base, config, CacheSettings(), plan, training, workload.size.epochs)
    if found is None:
        raise SystemExit("nothing can be stored")
    return found


def rows_of(journal: Path, count: int) -> list[dict[str, Any]]:
    """What a run's journal says of each trial.

    A trial's wall time goes from the end of the one before to its own end.
    """
    rows: list[dict[str, Any]] = [{"losses": []} for _ in range(count)]
    ended: float | None = None
    for event in read_journal(journal):
        if not isinstance(event, EpochDone):
            continue
        row = rows[event.trial]
        begin = event.began if ended is None else ended
        row["losses"].append(event.loss)
        row["wall_s"] = row.get("wall_s", 0.0) + event.ended - begin
        row |= {"accuracy": event.accuracy, "busy_s": event.seconds, "start": event.start}
        ended = event.ended
    return rows
