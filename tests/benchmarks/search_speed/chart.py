"""The chart: what each system takes for the whole list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

LABELS = {
    "P2": "Ray Tune, a TorchTrainer a trial",
    "P0": "sentence-transformers, Optuna",
    "P1 gradcache": "… tuned, GradCache",
    "P1": "… tuned",
    "padded": "Isogloss, padded, no reuse",
    "unpadded": "Isogloss, packed, no reuse",
    "frozen": "… frozen features",
    "prefix": "… states below adapters",
    "cold": "Isogloss: search.run",
    "warm": "search.run again",
}
PEER, OWN = "#9aa5b1", "#2f6f9f"


def draw(found: dict[str, Any], file: Path) -> None:
    """Draw CPU and wall time of every system that was run, a bar each, with all its repeats."""
    mpl.rcParams["svg.hashsalt"] = "isogloss"  # the same figures give the same file
    systems = [name for name in LABELS if name in found["costs"]][::-1]
    figure = Figure(figsize=(9, 0.42 * len(systems) + 1.2), layout="constrained")
    for axes, (what, title) in zip(
        figure.subplots(1, 2, sharey=True),
        (("cpu_s", "CPU time, s"), ("wall_s", "wall time, s")),
        strict=True,
    ):
        costs = [found["costs"][name][what] for name in systems]
        medians = [cost["median"] for cost in costs]
        spans = [
            [cost["median"] - cost["least"] for cost in costs],
            [cost["most"] - cost["median"] for cost in costs],
        ]
        colours = [PEER if name.startswith("P") else OWN for name in systems]
        bars = axes.barh(
            [LABELS[name] for name in systems], medians, xerr=spans, color=colours, ecolor="#333"
        )
        axes.bar_label(bars, [f"{value:.0f}" for value in medians], padding=4)
        axes.set_xlabel(title)
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    title = f"Sixteen trials, {found['size']}: one thread, one trial at a time"
    figure.suptitle(f"{title}; median, least and most of all runs", fontsize=10)
    figure.savefig(file, metadata={"Date": None})
