"""What the runs of all systems say together."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from components.base import BaseConfig, load
from components.base.packing import MULTIPLE
from components.base.structure import layers_of
from search.data.pairs import Pairs
from tests.benchmarks.search_speed.peers import RUN_TOKENS
from tests.benchmarks.search_speed.workload import Trial, Workload

Run = dict[str, Any]
# Of P2 the wall time counts, since it mostly waits; of the others the CPU time.
MEASURE = {"P0": "cpu_s", "P1": "cpu_s", "P1 gradcache": "cpu_s", "P2": "wall_s"}
PACKAGES = ("torch", "transformers", "sentence-transformers", "peft", "ray", "optuna")


def machine() -> dict[str, Any]:
    """What the figures were measured with."""
    cpu = platform.processor()
    about = Path("/proc/cpuinfo")
    if about.exists():
        names = [line for line in about.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def summarise(workload: Workload, runs: Sequence[Run], needed: Mapping[str, int]) -> dict[str, Any]:
    """Medians over the repeats of ratios taken within one.

    Args:
        needed: FLOPs of `products`.
    """
    repeats = sorted({run["repeat"] for run in runs})
    by = {(run["repeat"], run["system"]): run for run in runs}

    def over(value: Callable[..., float], *systems: str) -> dict[str, Any] | None:
        """The value of the runs of some systems, in every repeat that has them all."""
        found = [
            value(*(by[repeat, system] for system in systems))
            for repeat in repeats
            if all((repeat, system) in by for system in systems)
        ]
        return {"median": median(found), "least": min(found), "most": max(found)} if found else None

    groups = [trial.group for trial in workload.trials]
    frozen = [number for number, group in enumerate(groups) if group == "frozen"]
    last = [n for n, trial in enumerate(workload.trials) if trial.rank and trial.last == 4]
    systems = sorted({system for _, system in by})
    return {
        "ratios": {
            peer: {
                ours: over(lambda p, o, what=what: p[what] / o[what], peer, ours)
                for ours in ("cold", "warm")
            }
            for peer, what in MEASURE.items()
        },
        "costs": {
            system: {
                what: over(lambda run, what=what: run[what], system)
                for what in ("cpu_s", "wall_s", "peak_gb")
            }
            for system in systems
        },
        "frozen trial, warm, against P2": over(
            lambda p, o: (
                median(p["trials"][n]["wall_s"] for n in frozen)
                / median(o["trials"][n]["wall_s"] for n in frozen)
            ),
            "P2",
            "warm",
        ),
        "LoRA on the last 4, warm, against itself unpadded": over(
            lambda p, o: median(p["trials"][n]["busy_s"] / o["trials"][n]["busy_s"] for n in last),
            "unpadded",
            "warm",
        ),
        "orchestration": {
            ours: over(lambda o: 1 - sum(row["busy_s"] for row in o["trials"]) / o["wall_s"], ours)
            for ours in ("cold", "warm")
        },
        # CPU time over that of the list's matrix products at the rate that torch.mm then had.
        "limit": {
            ours: over(lambda o, ours=ours: o["cpu_s"] * o["mm_flops_per_s"] / needed[ours], ours)
            for ours in ("cold", "warm")
        },
        # CPU seconds that no trial spent, of one thread each.
        "outside trials": {
            ours: over(lambda o: o["cpu_s"] - sum(row["busy_s"] for row in o["trials"]), ours)
            for ours in ("cold", "warm")
        },
        "stored bytes": over(lambda o: o["stored_bytes"], "cold"),
        "build s": over(
            lambda c, w: (
                sum(row["busy_s"] for row in c["trials"])
                - sum(row["busy_s"] for row in w["trials"])
            ),
            "cold",
            "warm",
        ),
        "parity": {  # of the last repeat that has both
            system: _parity(by[repeat, "unpadded"]["trials"], by[repeat, system]["trials"])
            for repeat, system in sorted(by)
            if (repeat, "unpadded") in by
        },
    }


def _parity(plain: Sequence[Run], other: Sequence[Run]) -> dict[str, Any]:
    """How far a system's results are from those of our own without any reuse."""
    scores = [[row["accuracy"] for row in rows] for rows in (plain, other)]
    same = [mine.get("losses") == row.get("losses") for mine, row in zip(plain, other, strict=True)]
    best_first = [np.argsort(-np.asarray(found), kind="stable").tolist() for found in scores]
    return {
        "largest difference of accuracy": max(abs(a - b) for a, b in zip(*scores, strict=True)),
        "same ranking": best_first[0] == best_first[1],
        "losses bitwise equal": f"{sum(same)} of {len(same)}" if other[0].get("losses") else None,
    }


@dataclass(frozen=True)
class Tokens:
    """Tokens of a trial's batches.

    Attributes:
        real: of the sentences.
        computed: system -> with what it pads and fills.
        met: of the sentences of all batches, each counted once.
        validation: of an evaluation.
        depth: layers of the base, which each of them goes through.
        layer_flops: of one token's way forward through the matrices of one layer.
    """

    real: int
    computed: dict[str, int]
    met: int
    validation: int
    depth: int
    layer_flops: int


def tokens(workload: Workload) -> Tokens:
    """Count what each system's base computes in the steps of a trial."""
    size = workload.size
    base = load(BaseConfig(model=workload.base, dtype="float32"))
    corpus, validation = workload.corpora(base.tokenize)
    training = workload.config(workload.trials[0]).training
    pairs = Pairs(corpus, size.pairs_per_epoch, training.language_temperature, training.seed)
    computed = {"P0": 0, "P1": 0, "ours": 0}
    real, met = 0, np.zeros_like(corpus.lengths)
    for epoch in range(size.epochs):
        for batch in pairs.epoch(epoch, size.batch_size):
            places = [(side.language, side.row) for side in (batch.anchor, batch.positive)]
            both = [corpus.lengths[at] for at in places]
            total = int(sum(side.sum() for side in both))
            real += total
            computed["P0"] += sum(len(side) * int(side.max()) for side in both)
            computed["P1"] += sum(_in_runs(side) for side in both)
            computed["ours"] += math.ceil(total / MULTIPLE) * MULTIPLE
            for at, side in zip(places, both, strict=True):
                met[at] = side
    evaluated = int(validation.lengths.sum())
    layer = layers_of(base.model)[1][0]
    flops = 2 * sum(weight.numel() for weight in layer.parameters() if weight.ndim == 2)
    return Tokens(real, computed, int(met.sum()), evaluated, base.depth, flops)


def padding(counts: Tokens) -> dict[str, float]:
    """Share of real tokens among those that each system's base computes."""
    return {name: counts.real / count for name, count in counts.computed.items()}


def ceiling(workload: Workload, counts: Tokens) -> dict[str, dict[str, float]]:
    """What the ratios to a peer would be if matrix products in the base were all there is to do.

    In layers times tokens: forward through a layer is one, and so is backward to what enters it.
    """
    depth, epochs = counts.depth, workload.size.epochs
    adapted = [_adapted(trial, depth) for trial in workload.trials]
    evaluated = epochs * counts.validation
    ours = _needed(workload, counts)
    found = {}
    for peer in ("P0", "P1"):
        cost = sum((depth + n) * counts.computed[peer] + depth * evaluated for n in adapted)
        found[peer] = {name: cost / needed for name, needed in ours.items()}
    return found


def products(workload: Workload, counts: Tokens) -> dict[str, int]:
    """FLOPs of the base's matrix products that the list needs, with nothing stored and with all.

    What several trials share is counted once where their results allow it.
    """
    return {name: n * counts.layer_flops for name, n in _needed(workload, counts).items()}


def _needed(workload: Workload, counts: Tokens) -> dict[str, int]:
    """Layers times tokens that the list needs: forward through a layer is one, back another."""
    depth, epochs = counts.depth, workload.size.epochs
    adapted = [_adapted(trial, depth) for trial in workload.trials]
    warm = sum(2 * n * counts.real + n * epochs * counts.validation for n in adapted)
    return {"cold": warm + depth * (counts.met + counts.validation), "warm": warm}


def _adapted(trial: Trial, depth: int) -> int:
    if not trial.rank:
        return 0
    return depth if trial.last == "all" else int(trial.last)


def _in_runs(lengths: np.ndarray) -> int:
    """Tokens that P1 computes."""
    ordered, start, count = sorted(lengths.tolist(), reverse=True), 0, 0
    while start < len(ordered):
        chosen = ordered[start : start + max(1, RUN_TOKENS // ordered[start])]
        count += len(chosen) * ordered[start]
        start += len(chosen)
    return count


def table(found: dict[str, Any]) -> str:
    """The costs and ratios as a table in Markdown."""
    lines = ["| | CPU s | wall s | peak GB | over ours, cold | over ours, warm |", "|" + "---|" * 6]
    for system, costs in found["costs"].items():
        ratios = found["ratios"].get(system, {})
        cells = [f"{costs[what]['median']:.1f}" for what in ("cpu_s", "wall_s", "peak_gb")]
        for ours in ("cold", "warm"):
            ratio = ratios.get(ours)
            cells.append(f"{ratio['median']:.1f}x" if ratio else "")
        lines.append(f"| {system} | {' | '.join(cells)} |")
    for ours in ("cold", "warm"):
        over, outside = (found.get(what, {}).get(ours) for what in ("limit", "outside trials"))
        if over:
            lines.append(
                f"\n{ours}: {over['median']:.2f} times its arithmetic limit, "
                f"{outside['median']:.0f} CPU s outside trials"
            )
    return "\n".join(lines)
