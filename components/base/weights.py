"""Check the files of weights of a base against its model, without reading the weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict, cast

import torch
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from components.base.architecture import model_class
from components.base.config import BaseConfig, options
from components.base.errors import one_sentence

# In the order in which transformers looks for them; of a model in several files, the index.
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")


class LoadingReport(TypedDict):
    """What transformers says of a checkpoint's keys; shapes are those of the file and the model."""

    missing_keys: set[str]
    unexpected_keys: set[str]
    mismatched_keys: set[tuple[str, tuple[int, ...], tuple[int, ...]]]


def load_pretrained(
    config: BaseConfig,
    settings: PreTrainedConfig,
    source: str,
    kind: type[PreTrainedModel] | None = None,
    **arguments: object,
) -> tuple[PreTrainedModel, LoadingReport]:
    """Load a model by transformers: the model, and transformers' report on its keys.

    Args:
        kind: the class to load it with; by default, the one without a head.

    Raises:
        ValueError: it cannot be loaded; one sentence says why.
    """
    with one_sentence(config.model):
        model, report = (kind or model_class(settings)).from_pretrained(
            source,
            config=settings,
            output_loading_info=True,
            # Without it, transformers takes a pickle where it finds nothing else.
            use_safetensors=None if config.allow_pickle else True,
            **options(config),
            **arguments,
        )
    return model, report


def make_skeleton(
    config: BaseConfig, settings: PreTrainedConfig, kind: type[PreTrainedModel] | None = None
) -> PreTrainedModel:
    """Build a model without weights, on the meta device.

    Args:
        kind: the class of the model; by default, the one without a head.
    """
    kind = kind or model_class(settings)
    with torch.device("meta"):
        if kind is AutoModel:
            model = kind.from_config(settings, trust_remote_code=config.trust_remote_code)
        else:
            model = kind(settings)
    return cast(PreTrainedModel, model)


def check_weights(config: BaseConfig, settings: PreTrainedConfig, source: str) -> None:
    """Hold the files of weights in a local folder against the model that they are to fill.

    Names and shapes are compared by transformers itself, on the meta device, so that whatever it
    renames or merges on loading is taken into account; a model of 2 GB takes a tenth of a second.
    A model on the hub is checked when it is loaded. Changed values cannot be found.

    Raises:
        ValueError: files are missing, cut short, no safetensors, pickles without consent, or of
            another model; one sentence says which.
    """
    folder = Path(source)
    if not folder.is_dir():
        return
    fault = _fault_of_files(folder, config.allow_pickle)
    if fault:
        raise ValueError(f"base.model {config.model!r} cannot be loaded: {fault}")
    model, report = load_pretrained(
        config, settings, source, device_map="meta", ignore_mismatched_sizes=True
    )
    for name, file_shape, model_shape in sorted(report["mismatched_keys"]):
        raise ValueError(
            f"base.model {config.model!r} cannot be loaded: {name!r} is {_by(file_shape)} in its "
            f"files, but {_by(model_shape)} by its config.json; they must be of one model"
        )
    refuse_missing(config, model, report["missing_keys"])


def refuse_missing(config: BaseConfig, model: PreTrainedModel, missing: Iterable[str]) -> None:
    """Refuse files that lack weights: transformers draws them at random, anew in every process.

    Raises:
        ValueError: weights are missing.
    """
    own = {name for name, _ in model.named_parameters()}
    # A pooler is often left out of a checkpoint, and no state comes from it.
    lost = sorted(name for name in missing if name in own and "pooler" not in name.split("."))
    if lost:
        raise ValueError(
            f"base.model {config.model!r} cannot be loaded: its files lack {len(lost)} weights of "
            f"a {type(model).__name__}, {lost[0]!r} among them"
        )


def _fault_of_files(folder: Path, allow_pickle: bool) -> str:
    """What is wrong with the files themselves; empty where nothing is."""
    for name in SAFETENSORS:
        if (folder / name).exists():
            files, fault = _parts(folder / name)
            return fault or next(filter(None, map(fault_of_safetensors, files)), "")
    for name in PICKLES:
        if (folder / name).exists():
            if not allow_pickle:
                return (
                    f"its weights are in a pickle ({name}), which can hold code; save them as "
                    f"safetensors, or set base.allow_pickle: true"
                )
            files, fault = _parts(folder / name)
            empty = (f"{file.name} is empty" for file in files if not file.stat().st_size)
            return fault or next(empty, "")
    return f"it has no weights ({SAFETENSORS[0]} or {SAFETENSORS[1]})"


def _parts(file: Path) -> tuple[Sequence[Path], str]:
    """The files that a file stands for (an index names several), or what is wrong with it."""
    if file.suffix != ".json":
        return [file], ""
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
        index["metadata"]  # transformers needs it
        names = sorted(set(index["weight_map"].values()))
        parts = [file.parent / name for name in names]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return [], f"{file.name} is no index of weights"
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        return [], f"{file.name} names {missing[0]}, which is not there"
    return parts, ""


def fault_of_safetensors(file: Path) -> str:
    """What is wrong with a safetensors file, from its header and its size; empty if nothing is.

    The format: 8 bytes with the header's length n, n bytes of JSON, then the tensors, each from
    and to the offsets that the header gives (https://github.com/huggingface/safetensors).
    """
    size = file.stat().st_size
    if not size:
        return f"{file.name} is empty"
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if 8 + length > size:
                raise ValueError("the header ends behind the file")
            header = json.loads(opened.read(length))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name[:2] != "__"]
        expected = 8 + length + max(ends, default=0)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return f"{file.name} is no safetensors file, or its header is damaged"
    if size != expected:
        return (
            f"{file.name} has {size:,} bytes; by its header it must have {expected:,}: it was cut "
            f"short or damaged on the way"
        )
    return ""


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "one number"
