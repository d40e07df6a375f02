"""The base: packed token ids in, packed states out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from components.ragged import States, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Sentences are sorted by length and cut into chunks of which at most this share is padding ...
PADDING = 0.15
# ... unless a chunk would fall under this many sentences, where the calls cost more than the pads.
LEAST = 8


class Base:
    """A pretrained transformer whose own weights never train.

    Attributes:
        model: the transformers model, in eval mode: its dropout stays off, with adapters too.
        tokenizer: its tokenizer.
        max_length: tokens after which a sentence is cut.
        width: dimensions D of a state.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> None:
        model.eval()
        model.requires_grad_(False)
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.width: int = model.config.hidden_size

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.device
        return device

    def tokenize(self, sentences: list[str]) -> list[list[int]]:
        """Token ids of each sentence with the tokenizer's special tokens, cut at `max_length`."""
        if not sentences:
            return []
        encoded = self.tokenizer(sentences, truncation=True, max_length=self.max_length)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def __call__(self, tokens: Tokens) -> States:
        """Run the model.

        Args:
            tokens: T ids of B sentences, on the base's device.

        Returns:
            The last hidden states after the model's final norm, T x D in the base's dtype.
        """
        lengths_B = tokens.lengths_B.cpu()
        order_B = torch.argsort(lengths_B, descending=True, stable=True)
        packed: list[Tensor] = []
        places: list[Tensor] = []
        for chunk in cut(lengths_B[order_B].tolist()):
            rows = order_B[chunk]
            lengths = lengths_B[rows].to(self.device)
            longest = int(lengths_B[rows[0]])
            column_L = torch.arange(longest, device=self.device)
            real_BL = column_L < lengths.unsqueeze(1)
            place_BL = tokens.offsets[:-1][rows.to(self.device)].unsqueeze(1) + column_L
            place_T = place_BL[real_BL]
            # Right-padded with token 0: whatever stands there is masked out and never read back.
            ids_BL = torch.zeros_like(place_BL)
            ids_BL[real_BL] = tokens.ids_T[place_T]
            out = self.model(input_ids=ids_BL, attention_mask=real_BL.long())
            packed.append(out.last_hidden_state[real_BL])
            places.append(place_T)
        back_T = torch.argsort(torch.cat(places))
        return States(torch.cat(packed)[back_T], tokens.offsets)


def cut(lengths: list[int]) -> Iterator[slice]:
    """Cut sentences, longest first, into chunks with little padding.

    Args:
        lengths: tokens of each sentence, in descending order.

    Yields:
        Slices that cover all of them.
    """
    start, real = 0, 0
    for end, length in enumerate(lengths):
        area = lengths[start] * (end - start + 1)
        if end - start >= LEAST and real + length < (1 - PADDING) * area:
            yield slice(start, end)
            start, real = end, 0
        real += length
    if lengths:
        yield slice(start, len(lengths))
