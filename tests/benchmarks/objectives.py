"""Do objectives and floors do what they say: ``python -m tests.benchmarks.objectives --json FILE``.

    python -m tests.benchmarks.objectives [--space FILE] [--seconds 120] [--seeds 3] [--set K=V …]
                                          --json FILE

Three searches of the same space, sampler and CPU time: one that maximises the mean accuracy, one
that maximises the worst family, and one that maximises the mean and keeps every language at least
as good as the reference (`no_language_below`). The space is that of the file without its starting
points; the settings below make it small. Trials follow one another in one process with one thread,
as in `tests.benchmarks.samplers`.

The model that each search chooses by the validation sentences is measured on test sentences that
choose nothing. The table has a row a seed and a search: of the test sentences the mean, the worst
family and the language that loses most to the reference trial of the same search (above 0: it
gains), and whether the model kept its floors on the validation sentences. A run that was ended goes
on where the file ends.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from search.scoring.interface import by_family
from tests.benchmarks.bare_search import SMALL, BareSearch, measure_missing

WAYS = {
    "mean": (),
    "worst family": ("search.objective=worst_family",),
    "mean, with floors": ("search.no_language_below=reference",),
}
LANGUAGES = "data.languages=[en, zh, ar, ko, de, gu, pa]"


def main() -> None:
    """Run what is missing in the file, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--space", type=Path, default=Path("spaces/lora_family.yaml"))
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)

    def measure_one(way: str, seed: int) -> dict[str, Any]:
        sampler = f"search.sampler={{kind: tpe, seed: {seed}}}"
        settings = [*SMALL, LANGUAGES, sampler, *WAYS[way], *options.settings]
        return measure(options.space, settings, options)

    shared = {"seconds": options.seconds, "settings": options.settings}
    runs = measure_missing(options.json, shared, WAYS, options.seeds, measure_one)
    print_table(runs, options.seeds)


def measure(space: Path, settings: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Search, and measure the chosen model on the test sentences."""
    with tempfile.TemporaryDirectory() as folder:
        search = BareSearch(space, settings, Path(folder))
        course = search.run(options.seconds)
    if course.reference is None:
        raise SystemExit(f"the reference did not end within {options.seconds:.0f} s: --seconds")
    best, reference = course.points[-1][1].by_language, course.reference.by_language
    gains = {language: best[language] - reference[language] for language in best}
    families = by_family(best, search.families)
    return {
        "trials": course.trials,
        "kept": course.kept,
        "mean": course.points[-1][1].accuracy,
        "worst family": min(families.items(), key=lambda item: item[1]),
        "worst gain": min(gains.items(), key=lambda item: item[1]),
        "languages": best,
    }


def print_table(runs: dict[str, Any], seeds: int) -> None:
    """Print a row a seed and a search, as Markdown."""
    print("| seed | search | trials | mean | worst family | least gain on the reference | kept |")
    print("|---|---|---|---|---|---|---|")
    for seed in range(seeds):
        for way in WAYS:
            run = runs[f"{way}, seed {seed}"]
            (family, worst), (language, gain) = run["worst family"], run["worst gain"]
            print(
                f"| {seed} | {way} | {run['trials']} | {run['mean']:.3f} | {worst:.3f} ({family}) "
                f"| {gain:+.3f} ({language}) | {'yes' if run['kept'] else 'no'} |"
            )


if __name__ == "__main__":
    main()
