"""Find and load a pretrained model."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from components.base.model import Base
from components.interface import Config

BUILTIN = {"builtin:tiny": Path(__file__).parent / "tiny"}


class BaseConfig(Config):
    """Which pretrained model, and how it is run.

    Attributes:
        model: ``builtin:tiny``, a local folder (transformers or sentence-transformers), or a name
            on the hub.
        dtype: ``auto`` is bfloat16 on a GPU and float32 on a CPU.
    """

    model: str = Field(min_length=1)
    revision: str | None = Field(default=None, description="branch, tag or commit on the hub")
    max_length: int = Field(default=128, ge=4, description="tokens after which a sentence is cut")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    trust_remote_code: bool = Field(default=False, description="run code that the model brings")


def locate(model: str) -> str:
    """Turn a model setting into what transformers loads: a folder, or a name on the hub.

    Raises:
        ValueError: an unknown built-in name, or a path that is no model folder.
    """
    if model.startswith("builtin:"):
        if model not in BUILTIN:
            raise ValueError(f"base.model is {model!r}; built in is only {', '.join(BUILTIN)}")
        return str(BUILTIN[model])
    path = Path(model).expanduser()
    if not path.exists():
        # One slash at most makes a hub name; anything else can only have been meant as a path.
        if model.count("/") > 1 or model.startswith(("/", ".", "~")):
            raise ValueError(f"base.model is {model!r}, which does not exist")
        return model
    if not path.is_dir():
        raise ValueError(f"base.model is {model!r}, a file; it must be a model folder")
    if not (path / "config.json").exists():
        inner = _first_module(path)
        if inner is None:
            raise ValueError(f"base.model is {model!r}, which has no config.json")
        path = inner
    return str(path.resolve())


def _first_module(folder: Path) -> Path | None:
    """The transformer inside an older sentence-transformers folder (``0_Transformer``)."""
    try:
        modules: list[dict[str, str]] = json.loads((folder / "modules.json").read_text())
        inner = folder / modules[0]["path"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return inner if (inner / "config.json").exists() else None


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
    with _one_sentence(config.model):
        tokenizer = _tokenizer(config, source)
        model, report = AutoModel.from_pretrained(
            source, config=settings, dtype=dtype, output_loading_info=True, **_options(config)
        )
    _refuse_missing(config, model, report["missing_keys"])
    with _one_sentence(config.model):
        base = Base(model.to(device), tokenizer, _max_length(config, settings))
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
    with _one_sentence(config.model):
        tokenizer = _tokenizer(config, source)
        with torch.device("meta"):
            model = AutoModel.from_config(settings, trust_remote_code=config.trust_remote_code)
    return Base(model, tokenizer, _max_length(config, settings))


def _refuse_missing(config: BaseConfig, model: PreTrainedModel, missing: Iterable[str]) -> None:
    """Refuse files that lack weights: transformers draws them at random, anew in every process."""
    own = {name for name, _ in model.named_parameters()}
    # A pooler is often left out of a checkpoint, and no state comes from it.
    lost = sorted(name for name in missing if name in own and "pooler" not in name.split("."))
    if lost:
        raise ValueError(
            f"base.model {config.model!r} cannot be loaded: its files lack {len(lost)} weights of "
            f"a {type(model).__name__}, {lost[0]!r} among them"
        )


def _tokenizer(config: BaseConfig, source: str) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(source, **_options(config))
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        # Where its files are absent, transformers makes an empty one.
        raise ValueError("its tokenizer has no vocabulary")
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:  # decoders often have none; nothing ever reads a pad here
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _options(config: BaseConfig) -> dict[str, Any]:
    return {"revision": config.revision, "trust_remote_code": config.trust_remote_code}


def _settings(config: BaseConfig, source: str) -> PreTrainedConfig:
    with _one_sentence(config.model):
        settings = AutoConfig.from_pretrained(source, **_options(config))
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


def _max_length(config: BaseConfig, settings: PreTrainedConfig) -> int:
    """The setting, but never past the last position the model has."""
    positions = getattr(settings, "max_position_embeddings", None)
    if not isinstance(positions, int):
        return config.max_length
    # RoBERTa and its kin start counting positions after the padding index.
    offset = (settings.pad_token_id or 0) + 1 if "roberta" in settings.model_type else 0
    return min(config.max_length, positions - offset)


@contextlib.contextmanager
def _one_sentence(model: str) -> Iterator[None]:
    """Turn whatever the loading raises into one sentence, and keep its progress bars quiet."""
    try:
        with quiet_loading("transformers"):
            yield
    except Exception as error:  # the libraries beneath raise everything from OSError to KeyError
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        kind = type(error).__name__
        local = os.path.isdir(model) or model.startswith("builtin:")
        where = "" if local else " as a local folder or from the hub"
        raise ValueError(
            f"base.model {model!r} cannot be loaded{where} ({kind}: {reason.strip()})"
        ) from error


@contextlib.contextmanager
def quiet_loading(library: str) -> Iterator[None]:
    """Keep a library's warnings and transformers' progress bars quiet."""
    logger = logging.getLogger(library)
    level = logger.level
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
