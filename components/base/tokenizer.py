"""Load the tokenizer of a base."""

from __future__ import annotations

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from components.base.config import BaseConfig, options


def load_tokenizer(config: BaseConfig, source: str) -> PreTrainedTokenizerBase:
    """Load a tokenizer that pads on the right.

    Raises:
        ValueError: it has no vocabulary.
    """
    tokenizer = AutoTokenizer.from_pretrained(source, **options(config))
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        # Where its files are absent, transformers makes an empty one.
        raise ValueError("its tokenizer has no vocabulary")
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = _substitute_pad(tokenizer)
    return tokenizer


def _substitute_pad(tokenizer: PreTrainedTokenizerBase) -> str:
    """Choose a token to pad with, for a tokenizer that has none.

    Pads are masked, so any token does; but a pad token becomes a special token, which is found in
    a text before the text is split. It must therefore be special already or, where nothing is, a
    piece that no text is split into as it stands (``##ing``, ``Ġthe``).
    """
    special = (tokenizer.eos_token, *tokenizer.all_special_tokens)
    for token in special:
        if token is not None:
            return str(token)
    pieces = sorted(tokenizer.get_vocab(), key=lambda piece: (-len(piece), piece))
    unreachable = (piece for piece in pieces if tokenizer.tokenize(piece) != [piece])
    chosen: str = next(unreachable, pieces[0])
    return chosen


def refuse_larger_tokenizer(
    config: BaseConfig, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> None:
    """Refuse a tokenizer with ids that the embedding has no row for.

    Raises:
        ValueError: with both numbers.
    """
    size = max(tokenizer.get_vocab().values()) + 1
    rows = model.get_input_embeddings().weight.shape[0]
    if size > rows:
        raise ValueError(
            f"base.model {config.model!r} cannot be used: its tokenizer has {size:,} tokens, but "
            f"its embedding has {rows:,} rows; call model.resize_token_embeddings({size}) on it "
            f"and save it, or use the tokenizer that it was trained with"
        )
