"""Where the checkpoint of a trial lies in its run folder.

Nothing here imports torch: the mailbox of a lane writes bytes.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from search.runtime.sealing import check, keep_only

# What is left of a checkpoint when its trial has ended: the weights and the epoch.
_LASTING = ("weights/", "meta")


def checkpoint_file(trials: Path, trial: int, repeat: int = 0) -> Path:
    """Find the checkpoint of a trial, or of its run with another seed, in a run's ``trials``."""
    name = f"{trial}-seed{repeat}" if repeat else str(trial)
    return trials / name / "checkpoint.safetensors"


def run_of_folder(name: str) -> tuple[int, int] | None:
    """The trial and repeat that a folder of ``trials`` is named for; None where it is for none."""
    found = re.fullmatch(r"(\d+)(?:-seed(\d+))?", name)
    return (int(found[1]), int(found[2] or 0)) if found else None


def write_checkpoint(file: Path, data: bytes) -> None:
    """Write a checkpoint in place of the one before, which stays where writing fails.

    Raises:
        OSError: it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    try:
        fresh.write_bytes(data)
        fresh.replace(file)
    except BaseException:  # a full disk would stay full
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise


def shrink_checkpoint(file: Path) -> None:
    """Drop what only going on with the trial needs: the optimizer's moments and the random state.

    Raises:
        DamagedError: the file is not what was written.
        OSError: it cannot be read or written.
    """
    data = file.read_bytes()
    check(data)
    write_checkpoint(file, keep_only(data, lambda name: name.startswith(_LASTING)))
