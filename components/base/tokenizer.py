"""Load the tokenizer of a base."""

from __future__ import annotations

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from components.base.config import BaseConfig, options


def load_tokenizer(config: BaseConfig, source: str) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(source, **options(config))
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        # Where its files are absent, transformers makes an empty one.
        raise ValueError("its tokenizer has no vocabulary")
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:  # decoders often have none; nothing ever reads a pad here
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
