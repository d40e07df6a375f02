"""A base that an exported folder names instead of holding: as the base of a PEFT adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

from components.adapter.lora import Lora
from components.base import Base, BaseConfig
from components.base.locate import ADAPTER_FILE, is_adapter, locate
from components.base.structure import linear_names
from components.encoder import Encoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS = "adapter_model.safetensors"
WRAPPER = "base_model.model."  # PEFT puts this before the names of a model's weights


def base_reference(config: BaseConfig) -> str:
    """What PEFT and transformers find a base by: an absolute folder, or a name on the hub.

    Raises:
        ValueError: the base is itself a PEFT adapter, which another adapter cannot name.
    """
    source = locate(config.model)
    if is_adapter(Path(source)):
        raise ValueError(
            f"--adapters is 'peft', but the base {config.model!r} is itself a PEFT adapter, which "
            f"another one cannot name as its base; it must be 'merged'"
        )
    return source


def write_adapter(encoder: Encoder, folder: Path, reference: str) -> None:
    """Write the encoder's adapter as a PEFT folder that names its base; the base is given back.

    Where the encoder has none to write, an adapter of rank 1 that adds zeros is written: the
    settings of an adapter are the only file by which sentence-transformers finds a base elsewhere.
    """
    saved = encoder.adapter.save_peft(folder)
    encoder.adapter.remove()
    if not saved:
        _save_zero_adapter(encoder.base, folder)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's, with nothing but questions in it
    file = folder / ADAPTER_FILE
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = reference
    settings["target_modules"] = sorted(settings["target_modules"])  # PEFT holds them in a set
    file.write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")


def refuse_difference(trained: PreTrainedModel, loaded: PreTrainedModel, folder: Path) -> None:
    """Refuse a model that transformers does not load as it was trained; it only warns of that.

    Args:
        folder: of the adapter that was loaded.

    Raises:
        ValueError: it is of another class, or weights of the adapter are not in it.
    """
    why = ""
    if type(trained) is not type(loaded):
        why = f"the base as a {type(loaded).__name__}, not as the {type(trained).__name__} it was"
    else:
        there = loaded.get_adapter_state_dict()
        for name, value in load_file(folder / WEIGHTS).items():
            found = there.get(name.removeprefix(WRAPPER))
            if found is None or not torch.equal(found.cpu().to(value.dtype), value):
                why = f"the adapter without the trained {name.removeprefix(WRAPPER)!r}"
    if why:
        raise ValueError(f"--adapters is 'peft', but transformers loads {why}; it must be 'merged'")


def _save_zero_adapter(base: Base, folder: Path) -> None:
    zero = Lora(targets=linear_names(base.model)[:1], rank=1).build(base.model)
    try:  # its second factor starts at zero, and so does what it adds
        zero.save_peft(folder)
    finally:
        zero.remove()
