"""Load a pretrained model."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from components.base.architecture import read_settings, text_part
from components.base.config import BaseConfig
from components.base.errors import one_sentence
from components.base.locate import locate
from components.base.model import Base
from components.base.peft_folder import find_adapter
from components.base.positions import last_position
from components.base.shipped import Shipped, read_shipped
from components.base.tokenizer import load_tokenizer, refuse_larger_tokenizer
from components.base.weights import check_weights, load_pretrained, make_skeleton, refuse_missing


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
    if adapter := find_adapter(config, source):
        tokenizer, model = adapter.load_tokenizer(), adapter.load(dtype)
    else:
        settings = read_settings(config, source)
        with one_sentence(config.model):
            tokenizer = load_tokenizer(config, source)
        whole, report = load_pretrained(config, settings, source, dtype=dtype)
        refuse_missing(config, whole, report["missing_keys"])
        model = text_part(whole)
    with one_sentence(config.model):
        model.to(device)
    base = _base(config, model, tokenizer, adapter.note if adapter else "")
    base.pack()
    return base


def load_skeleton(config: BaseConfig) -> Base:
    """Build a base without weights, on the meta device: it can tokenise, check settings and count
    parameters. The files of weights are checked, but not read.

    Raises:
        ValueError: as `load`.
    """
    source = locate(config.model)
    if adapter := find_adapter(config, source):
        return _base(config, adapter.load_skeleton(), adapter.load_tokenizer(), adapter.note)
    settings = read_settings(config, source)
    check_weights(config, settings, source)
    with one_sentence(config.model):
        tokenizer = load_tokenizer(config, source)
        whole = make_skeleton(config, settings)
    return _base(config, text_part(whole), tokenizer)


def _limit(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, wanted: int, shipped: Shipped
) -> tuple[int, str]:
    """Find where sentences are cut, and why there, if that is before the length wanted."""
    length, reason = wanted, ""
    # sentence-transformers keeps its setting in its own file or in the tokenizer's.
    stated = shipped.max_length or tokenizer.model_max_length
    if shipped.is_sentence_model and 4 <= stated < length:
        length, reason = int(stated), "the folder's max_seq_length"
    last = last_position(model)
    if last is not None and last < length:
        length, reason = last, f"where the positions of a {type(model).__name__} of this size end"
    return length, reason


def _base(
    config: BaseConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    note: str = "",
) -> Base:
    """Put a model and its tokenizer together, with what was published beside them."""
    refuse_larger_tokenizer(config, tokenizer, model)
    shipped = read_shipped(config.model, config.revision)
    wanted = config.max_length
    length, reason = _limit(model, tokenizer, wanted, shipped)
    cut = f"sentences are cut at {length} tokens, {reason}, and not at base.max_length, {wanted}"
    notes = [*[note] * bool(note), *[cut] * bool(reason), *shipped.notes()]
    with one_sentence(config.model):
        return Base(model, tokenizer, length, notes, reason, shipped)
