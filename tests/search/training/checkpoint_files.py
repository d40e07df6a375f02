"""Checkpoints that tests keep: as bytes, read again, and beside a training that goes on."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from search.training.checkpoint import Checkpoint
from search.training.loop import EpochReport


def written(checkpoint: Checkpoint) -> bytes:
    """The file of a checkpoint."""
    return b"".join(checkpoint.pieces())


def read_bytes(data: bytes) -> Checkpoint:
    """The checkpoint in a file of these bytes."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint.safetensors"
        file.write_bytes(data)
        return Checkpoint.read(file)


def collect(reports: Iterable[EpochReport]) -> list[EpochReport]:
    """All reports of a trial, with checkpoints that stay as they are while it goes on."""
    return [replace(report, checkpoint=deepcopy(report.checkpoint)) for report in reports]
