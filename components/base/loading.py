"""Load a pretrained model."""

from __future__ import annotations

import torch
from transformers import AutoModel, PreTrainedModel

from components.base.architecture import model_class, read_settings, text_part
from components.base.config import BaseConfig
from components.base.errors import one_sentence
from components.base.locate import locate
from components.base.model import Base
from components.base.positions import usable_length
from components.base.shipped import limit_length, list_unused
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
    length, notes = _length_and_notes(model, config, source)
    with one_sentence(config.model):
        base = Base(model.to(device), tokenizer, length, notes)
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
    length, notes = _length_and_notes(model, config, source)
    return Base(model, tokenizer, length, notes)


def _length_and_notes(
    model: PreTrainedModel, config: BaseConfig, source: str
) -> tuple[int, list[str]]:
    """Find where sentences are cut, and what the user should know of how the base is used."""
    limit, limited = limit_length(source, config.max_length)
    length, cut = usable_length(model, limit)
    return length, [*limited, *cut, *list_unused(source)]
