"""What do TPE and ASHA bring to a search: ``python -m tests.benchmarks.samplers --json FILE``.

    python -m tests.benchmarks.samplers [--space FILE] [--seconds 90] [--seeds 5] --json FILE

Three ways to spend the same CPU time on a space: TPE with ASHA, random draws with ASHA, and random
draws that are all trained to the last epoch. The space is that of the file without its starting
points, which would give all three the same good configs; the settings below make it small. Draws,
scheduler and training are those of a search; trials follow one another in one process with one
thread, without Ray, each search with a cache of its own, and the time is that of the process.

Whenever a trial that has ended is the best so far on the validation sentences, it is scored on test
sentences that choose nothing; that takes no time of the search. The table has the test accuracy of
the best trial so far after shares of the time: mean, least and most of the seeds, which are those
of the sampler. A run that was ended goes on where the file ends.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from tests.benchmarks.bare_search import SMALL, BareSearch, measure_missing

WAYS = {
    "TPE with ASHA": ("tpe", "asha"),
    "random with ASHA": ("random", "asha"),
    "random alone": ("random", "none"),
}
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)


def main() -> None:
    """Run what is missing in the file, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--space", type=Path, default=Path("spaces/lora_family.yaml"))
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)

    def measure(way: str, seed: int) -> dict[str, Any]:
        sampler, scheduler = WAYS[way]
        described = [*SMALL, f"search.sampler={{kind: {sampler}, seed: {seed}}}"]
        if scheduler == "none":
            described.append("search.scheduler={kind: none, max_epochs: 9}")
        with tempfile.TemporaryDirectory() as folder:
            course = BareSearch(options.space, described, Path(folder)).run(options.seconds)
        points = [(spent, test.accuracy) for spent, test in course.points]
        return {"trials": course.trials, "points": points}

    shared = {"seconds": options.seconds}
    print_table(
        measure_missing(options.json, shared, WAYS, options.seeds, measure), options.seconds
    )


def print_table(runs: dict[str, Any], seconds: float) -> None:
    """Print the mean, least and most test accuracy after shares of the time, as Markdown."""
    times = [share * seconds for share in SHARES]
    print("| way | trials | " + " | ".join(f"{time:.0f} s" for time in times) + " |")
    print("|---|---|" + "---|" * len(times))
    for way in WAYS:
        of_way = [one for name, one in runs.items() if name.startswith(f"{way}, ")]
        cells = []
        for time in times:
            tests = [_after(one["points"], time) for one in of_way]
            known = not any(map(math.isnan, tests))
            cells.append(
                f"{mean(tests):.3f} ({min(tests):.3f} to {max(tests):.3f})" if known else ""
            )
        trials = mean(one["trials"] for one in of_way)
        print(f"| {way} | {trials:.0f} | {' | '.join(cells)} |")


def _after(points: list[tuple[float, float]], seconds: float) -> float:
    """Test accuracy of the best trial after so many seconds; NaN before one has ended."""
    return next((test for spent, test in reversed(points) if spent <= seconds), math.nan)


if __name__ == "__main__":
    main()
