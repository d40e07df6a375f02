"""What stored hidden states depend on, as text and digests."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from torch import Tensor

from components.base import Base, BaseConfig
from components.base.peft_folder import weight_sources
from search.runtime.store import Store

FORMAT = 3
# Of a PEFT adapter, the settings too: they hold the factor that its weights are merged by.
WEIGHTS = ("*.safetensors", "*.bin", "*.py", "adapter_config.json")


def describe_states(base: Base, digest: str) -> str:
    """Write down everything that stored states depend on, except tokens and layer."""
    config = base.model.config.to_dict()
    config.pop("_name_or_path", None)
    return json.dumps(
        {
            "format": FORMAT,
            "weights": digest,
            "config": config,
            "dtype": str(base.model.dtype),
            "attention": base.attention,
            "first_position": base.position_offset,
            "device": base.device.type,
            "torch": version("torch"),
            "transformers": version("transformers"),
        },
        sort_keys=True,
        default=str,
    )


def weights_digest(config: BaseConfig, store: Store) -> str:
    """SHA-256 of the files of a base: its weights, those of an adapter, and the code it brings.

    Reading them takes long where they are large, so the digest of a file is stored: it holds for as
    long as the file has not changed.
    """
    sha = hashlib.sha256()
    for file in (file for place in weight_sources(config) for file in _files(*place)):
        stat = file.stat()
        touched = f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        key = hashlib.sha256(touched.encode()).hexdigest()
        what = f"{config.model}: digests of weights"
        digest = store.build(key, what, partial(_digest, file), wait=True)
        assert digest is not None
        sha.update(digest["sha256"].numpy().tobytes())
    return sha.hexdigest()


def _files(source: str, revision: str | None) -> list[Path]:
    folder = Path(source)
    if not folder.is_dir():
        folder = Path(snapshot_download(source, revision=revision, local_files_only=True))
    return sorted(found for kind in WEIGHTS for found in folder.glob(kind))


def _digest(file: Path) -> dict[str, Tensor]:
    with file.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").digest()
    return {"sha256": torch.frombuffer(bytearray(digest), dtype=torch.uint8)}
