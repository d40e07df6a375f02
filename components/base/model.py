"""The base: packed token ids in, packed states out."""

from __future__ import annotations

import contextlib
import itertools
import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from components.base.cut import Reached, started_at, stopped_at
from components.base.packing import MULTIPLE, VARLEN, Packing, packed, ways
from components.base.routing import routed
from components.base.structure import layers_of
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

    @property
    def tokenization(self) -> str:
        """Everything that the ids of `tokenize` depend on beside the sentences, as text."""
        tokenizer = self.tokenizer
        about: dict[str, Any] = {name: version(name) for name in ("transformers", "tokenizers")}
        about |= {"kind": type(tokenizer).__name__, "max_length": self.max_length}
        settings = {k: v for k, v in tokenizer.init_kwargs.items() if k != "name_or_path"}
        about |= {"settings": settings, "side": tokenizer.truncation_side}
        if tokenizer.is_fast:
            backend = json.loads(tokenizer.backend_tokenizer.to_str())
            # Set anew by every call.
            del backend["truncation"], backend["padding"]
            about["backend"] = backend
        else:
            about["vocabulary"] = tokenizer.get_vocab()
        return json.dumps(about, sort_keys=True, default=str)

    @property
    def causal(self) -> bool:
        """Whether a token sees only those before it."""
        return any(getattr(module, "is_causal", False) for module in self.model.modules())

    @property
    def attention(self) -> str:
        """How it runs: ``packed_varlen``, ``packed`` (see `packing`) or ``padded``."""
        if self.first_position is None:
            return "padded"
        return str(self.model.config._attn_implementation)

    @property
    def depth(self) -> int:
        """Number of layers L."""
        return int(self.model.config.num_hidden_layers)

    def __call__(self, tokens: Tokens, family_B: Tensor | None = None) -> States:
        """Run the model.

        Args:
            tokens: T ids of B sentences, on the base's device.
            family_B: index of each sentence's family, for an adapter that routes by it; without
                it the sentences are of none.

        Returns:
            The last hidden states after the model's final norm, T x D in the base's dtype.
        """
        filled, family_T, packing = self._filled(tokens, family_B)
        if self.first_position is None:
            values_TD = self._padded(filled, family_T, packing)
        else:
            values_TD = self._packed(packing, family_T, input_ids=filled.ids_T.unsqueeze(0))
        return States(values_TD[: len(tokens.ids_T)], tokens.offsets)

    def below(self, tokens: Tokens, boundary: int) -> States:
        """Run the layers below a boundary: what enters layer ``boundary``, or `__call__` at L."""
        if boundary == self.depth:
            return self(tokens)
        filled, family_T, packing = self._filled(tokens, None)
        values_TD = self._until(boundary, packing, family_T, input_ids=filled.ids_T.unsqueeze(0))
        return States(values_TD[: len(tokens.ids_T)], tokens.offsets)

    def above(
        self,
        states: States,
        boundary: int,
        family_B: Tensor | None = None,
        until: int | None = None,
    ) -> States:
        """Go on from what `below` gave: the same as `__call__` on the tokens.

        Args:
            until: the boundary to stop at, as in `below`; the depth by default.
        """
        real = len(states.values_TD)
        tokens = Tokens(states.offsets.new_zeros(real), states.offsets)
        filled, family_T, packing = self._filled(tokens, family_B)
        values_TD = functional.pad(states.values_TD, (0, 0, 0, len(filled.ids_T) - real))
        inputs_1TD = values_TD.unsqueeze(0)
        with started_at(layers_of(self.model)[1], boundary, inputs_1TD):
            out_TD = self._until(until, packing, family_T, inputs_embeds=inputs_1TD)
        return States(out_TD[:real], states.offsets)

    def _until(
        self, boundary: int | None, packing: Packing, family_T: Tensor, **inputs: Tensor
    ) -> Tensor:
        """What enters a layer, or, with None or at the depth, what comes out in the end."""
        if boundary in (None, self.depth):
            return self._packed(packing, family_T, **inputs)
        try:
            with stopped_at(layers_of(self.model)[1][boundary]):
                self._packed(packing, family_T, **inputs)
        except Reached as reached:
            return reached.states.squeeze(0)
        raise AssertionError("a model runs through its layers")

    def _filled(self, tokens: Tokens, family_B: Tensor | None) -> tuple[Tokens, Tensor, Packing]:
        """The tokens with fillers, the family of each, and how they are packed."""
        if family_B is None:  # of no family: index -1 is nobody's
            family_B = torch.full_like(tokens.lengths_B, -1)
        missing = -len(tokens.ids_T) % MULTIPLE
        if missing:  # a sentence of its own, so that the others do not feel it
            ids_T = functional.pad(tokens.ids_T, (0, missing))
            offsets = functional.pad(tokens.offsets, (0, 1), value=len(ids_T))
            tokens = Tokens(ids_T, offsets)
            family_B = functional.pad(family_B, (0, 1))
        family_T = family_B.repeat_interleave(tokens.lengths_B)
        return tokens, family_T, Packing.of(tokens, self.max_length)

    def _packed(self, packing: Packing, family_T: Tensor, **inputs: Tensor) -> Tensor:
        """One call of the model on packed tokens, or on their states."""
        assert self.first_position is not None
        with packed(packing), routed(family_T):
            out = self.model(
                **inputs,
                position_ids=(packing.position_T + self.first_position).unsqueeze(0),
                use_cache=False,
            )
        values_TD: Tensor = out.last_hidden_state.squeeze(0)
        return values_TD

    def _padded(self, tokens: Tokens, family_T: Tensor, packing: Packing) -> Tensor:
        """The same by padded calls, a chunk a call, for models that cannot run packed."""
        states = []
        for chunk in packing.chunks:
            ids_BL = torch.zeros_like(chunk.real_BL, dtype=torch.int64)
            family_BL = torch.full_like(ids_BL, -1)
            # Right-padded with token 0: whatever stands there is masked out and never read back.
            ids_BL[chunk.real_BL] = tokens.ids_T[chunk.place_N]
            family_BL[chunk.real_BL] = family_T[chunk.place_N]
            with routed(family_BL.flatten()):
                out = self.model(input_ids=ids_BL, attention_mask=chunk.real_BL.long())
            states.append(out.last_hidden_state[chunk.real_BL])
        return torch.cat(states)[torch.argsort(packing.place_T)]

    @torch.no_grad()
    def pack(self) -> bool:
        """Run packed from now on, if that gives the same states as padded on a mixed batch.

        Of the ways to run packed, the fastest that does so is taken; whatever raises or gives other
        states is passed over. Positions count from 0 in most models, after the padding token's
        index in RoBERTa's kin. What fits neither (attention with sinks, soft caps or biases) stays
        padded.

        Returns:
            Whether the model runs packed; `attention` says how.
        """
        tokens = self._mixed()
        before = self.model.config._attn_implementation
        expected = self(tokens)
        firsts = (0, (self.model.config.pad_token_id or 0) + 1)
        for way, first in itertools.product(ways(self.device, self.model.dtype), firsts):
            self.model.set_attn_implementation(way)
            self.first_position = first
            with contextlib.suppress(Exception):
                if self._close(self(tokens), expected):
                    if way == VARLEN:
                        self._run_back(tokens)
                    return True
        self.first_position = None
        self.model.set_attn_implementation(before)
        return False

    def _run_back(self, tokens: Tokens) -> None:
        """Run forward and backward: for some widths of heads, a kernel has no backward."""
        embedded: list[Tensor] = []  # nothing else in a frozen model takes a gradient
        hook = self.model.get_input_embeddings().register_forward_hook(
            lambda module, args, out: embedded.append(out.requires_grad_())
        )
        try:
            with torch.enable_grad():
                torch.autograd.grad(self(tokens).values_TD.sum(), embedded)
        finally:
            hook.remove()

    @torch.no_grad()
    def cuttable(self, boundary: int) -> bool:
        """Whether running up to a layer and on from there is the same as running through."""
        if self.first_position is None:
            return False
        tokens = self._mixed()
        with contextlib.suppress(Exception):
            return self._close(self.above(self.below(tokens, boundary), boundary), self(tokens))
        return False

    def _mixed(self) -> Tokens:
        """Sentences of very different lengths."""
        size = self.model.config.vocab_size
        lengths = [5, 1, 9, 3, self.max_length, 2]
        ids = torch.arange(sum(lengths)) * 7919 % (size - 10) + 5  # spread over the vocabulary
        offsets = torch.tensor([0, *lengths]).cumsum(0)
        return Tokens(ids.to(self.device), offsets.to(self.device))

    def _close(self, got: States, expected: States) -> bool:
        # The order of sums differs; in half precision that alone is a percent of a state's size.
        share = 1e-4 if self.model.dtype == torch.float32 else 0.05
        want_TD = expected.values_TD.float()
        off_TD = (got.values_TD.float() - want_TD).abs()
        return bool((off_TD <= share * want_TD.abs().max()).all())
