"""Where the checkpoint of a trial lies in its run folder.

Nothing here imports torch: the mailbox of a lane writes bytes.
"""

from __future__ import annotations

from pathlib import Path


def checkpoint_file(trials: Path, trial: int) -> Path:
    """Find a trial's checkpoint in the ``trials`` folder of a run."""
    return trials / str(trial) / "checkpoint.safetensors"


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
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
