"""Load a pretrained model."""

from __future__ import annotations

import torch
from transformers import AutoModel, PreTrainedModel

from components.base.architecture import model_class, read_settings, text_part
from components.base.config import BaseConfig
from components.base.errors import one_sentence
from components.base.locate import locate
from components.base.model import Base
from components.base.positions import last_position
from components.base.shipped import list_unused, stated_length
from components.base.tokenizer import load_tokenizer, refuse_larger_tokenizer
from components.base.weights import check_weights, load_pretrained, refuse_missing


def load(config: BaseConfig, device: torch.device | str = "cpu") -> Base:
    """Load a base for use.

    Raises:
        ValueError: it cannot be loaded, or is no decoder or encoder; one sentence says why.
    """
    source = locate(config.model)
    device = torch.device(device)
    if config.dtype != "auto":
        dtype = getattr(torch, config.dtype)
    else:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    settings = read_settings(config, source)
    with one_sentence(config.model):
        tokenizer = load_tokenizer(config, source)
    whole, report = load_pretrained(config, settings, source, dtype=dtype)
    refuse_missing(config, whole, report["missing_keys"])
    model = text_part(whole)
    refuse_larger_tokenizer(config, tokenizer, model)
    length, reason = _limit(model, config, source)
    notes = _notes(config, source, length, reason)
    with one_sentence(config.model):
        base = Base(model.to(device), tokenizer, length, notes, reason)
    base.pack()
    return base


def load_skeleton(config: BaseConfig) -> Base:
    """Build a base without weights, on the meta device: it can tokenise, check settings and count
    parameters. The files of weights are checked, but not read.

    Raises:
        ValueError: as `load`.
    """
    source = locate(config.model)
    settings = read_settings(config, source)
    check_weights(config, settings, source)
    with one_sentence(config.model):
        tokenizer = load_tokenizer(config, source)
        with torch.device("meta"):
            if (kind := model_class(settings)) is AutoModel:
                whole = kind.from_config(settings, trust_remote_code=config.trust_remote_code)
            else:
                whole = kind(settings)
    model = text_part(whole)
    refuse_larger_tokenizer(config, tokenizer, model)
    length, reason = _limit(model, config, source)
    return Base(model, tokenizer, length, _notes(config, source, length, reason), reason)


def _limit(model: PreTrainedModel, config: BaseConfig, source: str) -> tuple[int, str]:
    """Find where sentences are cut, and why there, if it is before `max_length`."""
    stated, last = stated_length(source), last_position(model)
    length, reason = config.max_length, ""
    if stated is not None and stated < length:
        length, reason = stated, "the folder's max_seq_length"
    if last is not None and last < length:
        length, reason = last, f"where the positions of a {type(model).__name__} of this size end"
    return length, reason


def _notes(config: BaseConfig, source: str, length: int, reason: str) -> list[str]:
    """What the user should know of how the base is used."""
    cut = f"sentences are cut at {length} tokens, {reason}, and not at base.max_length, "
    return [f"{cut}{config.max_length}"] * bool(reason) + list_unused(source)
