"""Load a pretrained model."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from components.base.config import BaseConfig, options
from components.base.errors import one_sentence
from components.base.locate import locate
from components.base.model import Base
from components.base.positions import max_length
from components.base.tokenizer import load_tokenizer
from components.base.weights import refuse_missing


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
    settings = _settings(config, source)
    with one_sentence(config.model):
        tokenizer = load_tokenizer(config, source)
        model, report = AutoModel.from_pretrained(
            source, config=settings, dtype=dtype, output_loading_info=True, **options(config)
        )
    refuse_missing(config, model, report["missing_keys"])
    with one_sentence(config.model):
        base = Base(model.to(device), tokenizer, max_length(config, settings))
    base.pack()
    return base


def load_skeleton(config: BaseConfig) -> Base:
    """Build a base without weights, on the meta device: it can tokenise, check settings and count
    parameters.

    Raises:
        ValueError: as `load`, where the settings alone show it.
    """
    source = locate(config.model)
    settings = _settings(config, source)
    files = [file.name for file in Path(source).glob("*")]  # none where it is a name on the hub
    if files and not any(re.search(r"\.(safetensors|bin)(\.index\.json)?$", f) for f in files):
        raise ValueError(f"base.model {config.model!r} cannot be loaded: it has no weights")
    with one_sentence(config.model):
        tokenizer = load_tokenizer(config, source)
        with torch.device("meta"):
            model = AutoModel.from_config(settings, trust_remote_code=config.trust_remote_code)
    return Base(model, tokenizer, max_length(config, settings))


def _settings(config: BaseConfig, source: str) -> PreTrainedConfig:
    with one_sentence(config.model):
        settings = AutoConfig.from_pretrained(source, **options(config))
    if settings.is_encoder_decoder:
        raise ValueError(
            f"base.model {config.model!r} is a {settings.model_type} encoder-decoder; it must be "
            f"a decoder or an encoder"
        )
    if not isinstance(getattr(settings, "hidden_size", None), int):
        raise ValueError(
            f"base.model {config.model!r} is a {settings.model_type}, which has no hidden_size; it "
            f"must be a text decoder or encoder"
        )
    return settings
