"""Private memory of several readers of one warm cache: `python -m tests.benchmarks.readers`.

It stores states of the size that is asked for and starts processes that read every one of them, as
the workers of several lanes do. Printed are the bytes that no other process shares (USS). A page of
a file counts as private while one process alone has it mapped: of one reader that is the whole
cache, of several it is only what each has copied.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from search.runtime.store import Store

SHARD_MB = 8
READER = """
import sys
from pathlib import Path
import psutil, torch
from search.runtime.store import Store
store = Store(Path(sys.argv[1]), 1e12)
before = psutil.Process().memory_full_info().uss
held = [store.load(key) for key in sys.argv[2].split(",")]
total = sum(float(tensors["values_TD"].sum()) for tensors in held)
print("read", flush=True)
sys.stdin.readline()
print((psutil.Process().memory_full_info().uss - before) / 1e6, flush=True)
sys.stdin.readline()
"""


def measure(folder: str, keys: list[str], count: int) -> list[float]:
    """MB that each of some readers holds alone, while all of them hold everything."""
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, folder, ",".join(keys)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(count)
    ]  # fmt: skip

    def say(word: str) -> list[str]:
        answers = []
        for reader in readers:
            assert reader.stdin is not None and reader.stdout is not None
            if word:
                reader.stdin.write(word)
                reader.stdin.flush()
            answers.append(reader.stdout.readline())
        return answers

    say("")  # all have read
    found = [float(answer) for answer in say("\n")]
    for reader in readers:
        reader.communicate("\n")
    return found


def main() -> None:
    """Print the private memory of one reader and of several."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=400, help="of stored states")
    parser.add_argument("--readers", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="isogloss-readers-") as folder:
        store = Store(Path(folder), 1e12)
        keys = []
        for number in range(options.mb // SHARD_MB):
            keys.append(hashlib.sha256(str(number).encode()).hexdigest())
            values = torch.rand(SHARD_MB * 1_000_000 // 512, 128)
            store.keep(keys[-1], "states", {"values_TD": values})
        for count in (1, options.readers):
            alone = measure(folder, keys, count)
            print(
                f"{count} reader{'s' * (count > 1)} of {options.mb} MB: private memory "
                f"{sum(alone):.1f} MB in all ({', '.join(f'{one:.1f}' for one in alone)})"
            )


if __name__ == "__main__":
    main()
