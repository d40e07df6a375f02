"""The base: packed token ids in, packed states out."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from components.base.packing import NAME, Packing, packed
from components.ragged import States, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
        self.first_position: int | None = None  # that packed sentences count from; None: padded
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
        packing = Packing.of(tokens)
        if self.first_position is None:
            return States(self._padded(tokens, packing), tokens.offsets)
        with packed(packing):
            out = self.model(
                input_ids=tokens.ids_T.unsqueeze(0),
                position_ids=(packing.position_T + self.first_position).unsqueeze(0),
                use_cache=False,
            )
        return States(out.last_hidden_state.squeeze(0), tokens.offsets)

    def _padded(self, tokens: Tokens, packing: Packing) -> Tensor:
        """The same by padded calls, a chunk a call, for models that cannot run packed."""
        states = []
        for chunk in packing.chunks:
            ids_BL = torch.zeros_like(chunk.real_BL, dtype=torch.int64)
            # Right-padded with token 0: whatever stands there is masked out and never read back.
            ids_BL[chunk.real_BL] = tokens.ids_T[chunk.place_N]
            out = self.model(input_ids=ids_BL, attention_mask=chunk.real_BL.long())
            states.append(out.last_hidden_state[chunk.real_BL])
        return torch.cat(states)[torch.argsort(packing.place_T)]

    @torch.no_grad()
    def pack(self) -> bool:
        """Run packed from now on, if that gives the same states as padded on a mixed batch.

        Positions count from 0 in most models, after the padding token's index in RoBERTa's kin.
        What fits neither (attention with sinks, soft caps or biases) stays padded.

        Returns:
            Whether the model runs packed.
        """
        size = self.model.config.vocab_size
        lengths = [5, 1, 9, 3, self.max_length, 2]
        ids = torch.arange(sum(lengths)) * 7919 % (size - 10) + 5  # spread over the vocabulary
        offsets = torch.tensor([0, *lengths]).cumsum(0)
        tokens = Tokens(ids.to(self.device), offsets.to(self.device))
        before = self.model.config._attn_implementation
        expected = self(tokens).values_TD.float()
        # The order of sums differs; in half precision that alone is a percent of a state's size.
        tolerance = (1e-4 if self.model.dtype == torch.float32 else 0.05) * expected.abs().max()
        self.model.set_attn_implementation(NAME)
        for first in (0, (self.model.config.pad_token_id or 0) + 1):
            self.first_position = first
            with contextlib.suppress(Exception):
                if ((self(tokens).values_TD.float() - expected).abs() <= tolerance).all():
                    return True
        self.first_position = None
        self.model.set_attn_implementation(before)
        return False
