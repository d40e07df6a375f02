"""Do components of language families raise the worst family above what shared ones reach?

    python -m tests.benchmarks.families [--seeds 3] [--epochs 6] [--pairs 768] [--jobs 2]

Every row trains on the same pairs in the same number of steps, at each learning rate; the rate is
chosen by the mean accuracy over the seeds, the same way for every row. A family's accuracy is the
mean of its languages, on validation phrases of the built-in corpus. The largest shared adapter has
about as many parameters as the adapters of four families together.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
from typing import Any

import torch

from components.base import BaseConfig, load
from search.data.loading import load_corpora
from search.data.settings import DataSettings
from search.data.tokens import tokenise
from search.settings.trial import TrialConfig
from search.training.loop import train

LANGUAGES = ["en", "zh", "ar", "ko", "de", "gu", "pa"]
RATES = (1e-3, 3e-3, 1e-2)
LORA: dict[str, Any] = {"targets": "all-linear", "rank": 8}
LINEAR = {"kind": "linear", "width": 256}
FAMILY = {"kind": "family", "width": 256}
ROWS: dict[str, dict[str, Any]] = {
    "linear head": {"head": LINEAR},
    "family head": {"head": FAMILY},
    "LoRA, rank 8": {"head": LINEAR, "adapter": {"kind": "lora"} | LORA},
    "LoRA, rank 32": {"head": LINEAR, "adapter": {"kind": "lora"} | LORA | {"rank": 32}},
    "LoRA, rank 8, family head": {"head": FAMILY, "adapter": {"kind": "lora"} | LORA},
    "family LoRA, rank 8": {"head": LINEAR, "adapter": {"kind": "family_lora"} | LORA},
    "family LoRA, rank 8, over a shared one": {
        "head": LINEAR,
        "adapter": {"kind": "family_lora", "shared": True} | LORA,
    },
}


def run(job: tuple[str, float, int, int, int]) -> dict[str, Any]:
    """Train one row at one rate with one seed: accuracy of all and of each family."""
    name, rate, seed, epochs, pairs = job
    torch.set_num_threads(1)
    model = {"model": "builtin:tiny", "max_length": 256, "dtype": "float32"}
    base = load(BaseConfig.model_validate(model))
    settings = DataSettings.model_validate(
        {"train": "builtin:cldr", "validation": "builtin:cldr", "languages": LANGUAGES}
    )
    corpora = [tokenise(corpus, "en", base.tokenize) for corpus in load_corpora(settings)]
    config = TrialConfig.of(
        ROWS[name]
        | {
            "base": model,
            "optimizer": {"lr": rate},
            "training": {"batch_size": 64, "pairs_per_epoch": pairs, "seed": seed},
        }
    )
    report = list(train(config, base, *corpora, max_epochs=epochs))[-1]
    family = corpora[0].family_by_language
    by_family: dict[str, list[float]] = {}
    for language, accuracy in report.scores.by_language.items():
        by_family.setdefault(family[language], []).append(accuracy)
    means = {name: statistics.mean(scores) for name, scores in by_family.items()}
    return {
        "name": name,
        "rate": rate,
        "accuracy": report.scores.accuracy,
        "worst": min(means.values()),
        "families": means,
        "parameters": report.trainable_parameters,
    }


def main() -> None:
    """Run all rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--pairs", type=int, default=768)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    jobs = [
        (name, rate, seed, options.epochs, options.pairs)
        for name, rate, seed in itertools.product(ROWS, RATES, range(options.seeds))
    ]
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        results = pool.map(run, jobs, chunksize=1)
    families = sorted(results[0]["families"])
    print(
        "| row | parameters | rate | all | worst family (each seed) | "
        + " | ".join(families)
        + " |"
    )
    print("|" + "---|" * (5 + len(families)))
    for name in ROWS:
        by_rate = {
            rate: [r for r in results if r["name"] == name and r["rate"] == rate] for rate in RATES
        }
        rate, chosen = max(
            by_rate.items(), key=lambda item: statistics.mean(r["accuracy"] for r in item[1])
        )
        worst = [r["worst"] for r in chosen]
        each = ", ".join(f"{w:.3f}" for w in worst)
        means = [statistics.mean(r["families"][family] for r in chosen) for family in families]
        print(
            f"| {name} | {chosen[0]['parameters']:,} | {rate:g} "
            f"| {statistics.mean(r['accuracy'] for r in chosen):.3f} "
            f"| {statistics.mean(worst):.3f} ({each}) | "
            + " | ".join(f"{mean:.3f}" for mean in means)
            + " |"
        )


if __name__ == "__main__":
    main()
