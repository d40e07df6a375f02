"""The base: packed token ids in, packed states out."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from components.base.cut import StopForward, started_at, stopped_at
from components.base.fused import Replacement, fused, replacements
from components.base.packing import VARLEN, Packing, packed, ways
from components.base.padded import run_padded
from components.base.recompute import recomputed
from components.base.routing import routed
from components.base.shipped import Shipped
from components.base.structure import layers_of
from components.ragged import States, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Of the sentences by which ways to run a model are compared, in tokens; attention takes memory by
# the square of it.
LONGEST_TRIED = 1024


def _families(packing: Packing, given: Tokens | States, family_B: Tensor | None) -> Tensor:
    """Pack the index of each token's family; -1 if families are not given."""
    if family_B is None:
        family_B = torch.full_like(given.lengths_B, -1)
    size = len(packing.source_T)
    return packing.pack(family_B.repeat_interleave(given.lengths_B, output_size=size))


class Base:
    """A pretrained transformer; an adapter may stand in for its weights, and never changes them.

    Attributes:
        model: the transformers model, in eval mode: its dropout stays off, with adapters too.
        tokenizer: its tokenizer.
        max_length: tokens after which a sentence is cut.
        cut_reason: why sentences are cut there, if that is before the length asked for; or empty.
        notes: what the user should know of how it was loaded.
        shipped: what was published with the model.
        passed_over: way to run packed that `pack` did not take -> why its first try failed.
        width: dimensions D of a state.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        notes: Sequence[str] = (),
        cut_reason: str = "",
        shipped: Shipped | None = None,
    ) -> None:
        model.eval()
        model.requires_grad_(False)
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.cut_reason = cut_reason
        self.notes = tuple(notes)
        self.shipped = shipped or Shipped()
        self.position_offset: int | None = None  # that packed sentences count from; None: padded
        self.passed_over: dict[str, str] = {}
        self._replacements: Sequence[Replacement] = ()
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
        # The rest of what a tokenizer gives takes it as long as the ids.
        encoded = self.tokenizer(
            sentences,
            truncation=True,
            max_length=self.max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def count_tokens(self, sentences: list[str]) -> list[int]:
        """Tokens of each whole sentence, as `tokenize` gives them, but not cut."""
        if not sentences:
            return []
        # Not verbose: that a sentence is longer than the model takes is what is asked here.
        encoded = self.tokenizer(sentences, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    @property
    def tokenization(self) -> str:
        """Everything that the ids of `tokenize` depend on beside the sentences, as text."""
        tokenizer = self.tokenizer
        about: dict[str, object] = {name: version(name) for name in ("transformers", "tokenizers")}
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
        if self.position_offset is None:
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
        packing = Packing.of(tokens)
        ids_P = packing.pack(tokens.ids_T)
        family_P = _families(packing, tokens, family_B)
        if self.position_offset is None:
            values_PD = run_padded(self.model, ids_P, family_P, packing)
        else:
            values_PD = self._packed(packing, family_P, input_ids=ids_P.unsqueeze(0))
        return States(packing.unpack(values_PD), tokens.offsets, tokens.host_offsets)

    def run_until(self, tokens: Tokens, boundary: int) -> States:
        """Compute the hidden states that enter layer ``boundary``; at L, those of `__call__`."""
        if boundary == self.depth:
            return self(tokens)
        packing = Packing.of(tokens)
        ids_1P = packing.pack(tokens.ids_T).unsqueeze(0)
        family_P = _families(packing, tokens, None)
        values_PD = self._until(boundary, packing, family_P, input_ids=ids_1P)
        return States(packing.unpack(values_PD), tokens.offsets, tokens.host_offsets)

    def run_from(
        self,
        states: States,
        boundary: int,
        family_B: Tensor | None = None,
        until: int | None = None,
    ) -> States:
        """Compute the last hidden states from those of `run_until`, as `__call__` does from tokens.

        Args:
            until: the boundary to stop at, as in `run_until`; the depth by default.
        """
        packing = Packing.of(states)
        inputs_1PD = packing.pack(states.values_TD).unsqueeze(0)
        family_P = _families(packing, states, family_B)
        with started_at(layers_of(self.model)[1], boundary, inputs_1PD):
            values_PD = self._until(until, packing, family_P, inputs_embeds=inputs_1PD)
        return States(packing.unpack(values_PD), states.offsets, states.host_offsets)

    def recomputed(self) -> AbstractContextManager[None]:
        """Keep, in calls inside, only what enters each layer for the backward pass."""
        return recomputed(self.model, self._replacements)

    def _until(
        self, boundary: int | None, packing: Packing, family_P: Tensor, **inputs: Tensor
    ) -> Tensor:
        """What enters a layer, or, with None or at the depth, what comes out in the end."""
        if boundary in (None, self.depth):
            return self._packed(packing, family_P, **inputs)
        try:
            with stopped_at(layers_of(self.model)[1][boundary]):
                self._packed(packing, family_P, **inputs)
        except StopForward as reached:
            return reached.states.squeeze(0)
        raise AssertionError("a model runs through its layers")

    def _packed(self, packing: Packing, family_P: Tensor, **inputs: Tensor) -> Tensor:
        """One call of the model on packed tokens, or on their states."""
        assert self.position_offset is not None
        with packed(packing), routed(family_P), fused(self._replacements):
            out = self.model(
                **inputs,
                position_ids=(packing.position_P + self.position_offset).unsqueeze(0),
                use_cache=False,
            )
        values_PD: Tensor = out.last_hidden_state.squeeze(0)
        return values_PD

    @torch.no_grad()
    def pack(self) -> bool:
        """Run packed from now on, if that gives the same states as padded on a mixed batch.

        Of the ways to run packed, the fastest that does so is taken; whatever raises or gives other
        states is passed over. Positions count from 0 in most models, after the padding token's
        index in RoBERTa's kin. What fits neither (attention with sinks, soft caps or biases) stays
        padded. Packed, a model goes the ways that `fused` has for it, if that too is the same.

        Returns:
            Whether the model runs packed; `attention` says how.
        """
        tokens = self._mixed()
        before = self.model.config._attn_implementation
        expected = self(tokens)
        self.passed_over.clear()
        firsts = (0, (self.model.config.pad_token_id or 0) + 1)
        options = ways(self.device, self.model.dtype), firsts, (replacements(self.model), ())
        for way, first, found in itertools.product(*options):
            self.model.set_attn_implementation(way)
            self.position_offset, self._replacements = first, found
            try:
                if self._close(self(tokens), expected):
                    if way == VARLEN:
                        self._check_backward(tokens)
                    return True
                why = "gives other states"
            except Exception as error:  # a model's own code may raise anything
                why = f"{type(error).__name__}: {error}"
            self.passed_over.setdefault(way, why.partition("\n")[0])
        self.position_offset = None
        self.model.set_attn_implementation(before)
        return False

    def _check_backward(self, tokens: Tokens) -> None:
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
    def can_split_at(self, boundary: int) -> bool:
        """Whether `run_until` and `run_from` at a layer give the same as `__call__`."""
        if self.position_offset is None:
            return False
        tokens = self._mixed()
        with contextlib.suppress(Exception):
            return self._close(
                self.run_from(self.run_until(tokens, boundary), boundary), self(tokens)
            )
        return False

    def _mixed(self) -> Tokens:
        """Sentences of very different lengths."""
        size = self.model.config.vocab_size
        lengths = [5, 1, 9, 3, min(self.max_length, LONGEST_TRIED), 2]
        ids = torch.arange(sum(lengths)) * 7919 % (size - 10) + 5  # spread over the vocabulary
        offsets = torch.tensor([0, *lengths]).cumsum(0)
        return Tokens(ids.to(self.device), offsets.to(self.device))

    def _close(self, got: States, expected: States) -> bool:
        # The order of sums differs; in half precision that alone is a percent of a state's size.
        share = 1e-4 if self.model.dtype == torch.float32 else 0.05
        want_TD = expected.values_TD.float()
        off_TD = (got.values_TD.float() - want_TD).abs()
        return bool((off_TD <= share * want_TD.abs().max()).all())
