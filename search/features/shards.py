"""Hidden states and statistics of a corpus at one layer, stored in shards.

In float32 on a CPU a stored state of a packed base is, bit for bit, what the base would give in any
batch. Shards for which the store has no room are not kept in memory either: those of their
sentences that are asked for are computed, each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from components.base import Base
from components.ragged import States, Statistics
from search.data.tokens import Ints, Sentences, TokenisedCorpus
from search.runtime.progress import tell
from search.runtime.store import Store

# Of one shard: small enough to compute while another lane does the next, large enough for a file.
SHARD_TOKENS = 16_384
TOKENS_A_CALL = 8192
# Of a GPU's memory: shards stay there while so much of it is free for training.
GPU_FREE = 0.5
TOKEN_STATES = "values_TD"
STATISTIC_BYTES = 4  # of a number: statistics are in float32
NO_SHARD = -1


class FeatureSet:
    """Hidden states of a corpus at one layer, or some statistics of them.

    Args:
        boundary: index of the layer that the states enter; the depth of the base for the last ones.
        statistics: names of the statistics to store in place of the states; None for the states.
        digest: of everything that the values depend on, except tokens and boundary.
        order: every sentence of the corpus, in the order of shards.
        name: of the base.
        met: number of sentences at the head of ``order`` that trials are sure to ask for; no shard
            holds sentences from both sides of that line.

    Attributes:
        below: sets of states at lower layers, of the same corpus in the same order, ascending; they
            are computed in the same pass where they are missing and there is room.
        unstored: numbers of the shards for which there is no room.
        layers_run: number of layers run so far, times the tokens that each was run for.
    """

    def __init__(
        self,
        base: Base,
        corpus: TokenisedCorpus,
        boundary: int,
        statistics: Sequence[str] | None,
        store: Store,
        digest: str,
        order: Sentences,
        name: str,
        below: Sequence[FeatureSet] = (),
        met: int = 0,
    ) -> None:
        self.base = base
        self.corpus = corpus
        self.boundary = boundary
        self.pooled = statistics is not None
        # Each is a file of its own, so that a later search adds the statistics that it reads.
        self.names = (TOKEN_STATES,) if statistics is None else tuple(statistics)
        self.store = store
        self.order = order
        self.below = below
        self.layers_run = 0
        self._digest = digest
        self._name = name
        # What is stored has a row for each sentence, or for each token.
        self._rows = np.sign(corpus.lengths) if self.pooled else corpus.lengths
        at = order.language, order.row
        # Cut where the count of tokens, begun anew at the line, passes a multiple of the size.
        sides = np.split(corpus.lengths[at], [met])
        shard = np.concatenate([(np.cumsum(side) - 1) // SHARD_TOKENS for side in sides])
        shard[met:] += 1 + (shard[met - 1] if met else 0)
        numbers, shard = np.unique(shard, return_inverse=True)
        self._starts: Ints = np.searchsorted(shard, np.arange(len(numbers) + 1))
        row = np.cumsum(self._rows[at]) - self._rows[at]
        self._shard = np.full(self._rows.shape, -1)
        self._place = np.full(self._rows.shape, -1)
        self._shard[at] = shard
        self._place[at] = row - row[self._starts[shard]]
        self._loaded: dict[int, dict[str, Tensor]] = {}
        self.unstored: set[int] = set()

    def __call__(self, sentences: Sentences) -> States | Statistics:
        """Fetch the states or statistics of some sentences, on the base's device."""
        at = sentences.language, sentences.row
        shard_B, place_B, rows_B = self._shard[at], self._place[at], self._rows[at]
        self._ensure(np.unique(shard_B).tolist())
        shard_B = np.where(np.isin(shard_B, list(self.unstored)), NO_SHARD, shard_B)
        offsets = np.concatenate([[0], np.cumsum(rows_B)])
        # Fetched shard by shard, then put where they were asked for.
        order = np.argsort(shard_B, kind="stable")
        numbers, first = np.unique(shard_B[order], return_index=True)
        shards, sizes = numbers.tolist(), np.add.reduceat(rows_B[order], first).tolist()
        device = self.base.device
        source = _places(place_B[order], rows_B[order])
        target = _places(offsets[order], rows_B[order]).to(device, non_blocking=True)
        computed = None
        if NO_SHARD in shards:
            computed = self._compute_some(sentences[order[shard_B[order] == NO_SHARD]])

        def stored(name: str) -> Tensor:
            parts = []
            for shard, rows in zip(shards, torch.split(source, sizes), strict=True):
                if shard == NO_SHARD:
                    parts.append(getattr(computed, name))
                else:
                    values = self._loaded[shard][name]
                    rows = rows.to(values.device, non_blocking=True)
                    parts.append(values.index_select(0, rows).to(device, non_blocking=True))
            fetched = torch.cat(parts)
            return torch.empty_like(fetched).index_copy_(0, target, fetched)

        if self.pooled:
            return Statistics(stored)
        host = torch.from_numpy(offsets)
        return States(stored(TOKEN_STATES), host.to(device, non_blocking=True), host)

    def _ensure(self, shards: Sequence[int]) -> None:
        """Load or compute shards; those that another process computes are awaited last."""
        missing = [shard for shard in shards if shard not in self._loaded]
        wait = False
        while missing := [shard for shard in missing if shard not in self.unstored]:
            for shard in missing:
                tensors = self._fetch(shard, wait)
                if tensors is not None:
                    self._loaded[shard] = self._placed(tensors)
                    tell("storing states", len(self._loaded), len(self._starts) - 1)
            missing = [shard for shard in missing if shard not in self._loaded]
            wait = True

    def _fetch(self, shard: int, wait: bool) -> dict[str, Tensor] | None:
        """Load or compute a shard.

        Returns:
            None if another process computes it and ``wait`` is False, or if it cannot be stored,
            which is then noted.
        """
        key = self._sentences_key(shard)
        tensors = self._load(key)
        if len(tensors) == len(self.names):
            return tensors
        with self.store.held(key, wait) as held:
            if not held:
                return None
            tensors = self._load(key)
            if len(tensors) < len(self.names) and self.store.fits(self._bytes(shard)):
                self._compute(shard, key, tensors)
            if len(tensors) < len(self.names):
                self.unstored.add(shard)
                return None
            return tensors

    def _bytes(self, shard: int) -> int:
        """Size of a shard's tensors."""
        sentences = self._sentences(shard)
        rows = int(self._rows[sentences.language, sentences.row].sum())
        item = STATISTIC_BYTES if self.pooled else self.base.model.dtype.itemsize
        return rows * self.base.width * item * len(self.names)

    @torch.no_grad()
    def _compute_some(self, sentences: Sentences) -> States:
        """Compute the states of some sentences, from the highest layer below that may be stored."""
        if self.below:
            nearest = self.below[-1]
            states = nearest(sentences)
            assert isinstance(states, States)
            reached = nearest.boundary
            self._count(len(states.values_TD), reached)
            if reached == self.boundary:
                return states
            return self.base.run_from(states, reached, until=self.boundary)
        tokens = self.corpus.tokens(sentences, self.base.device)
        self._count(len(tokens.ids_T))
        return self.base.run_until(tokens, self.boundary)

    def _count(self, tokens: int, reached: int = 0) -> None:
        self.layers_run += tokens * (self.boundary - reached)

    def _load(self, sentences: str) -> dict[str, Tensor]:
        """Load what is stored of a shard, by name; missing names are left out."""
        found = {name: self.store.load(self._key(sentences, name)) for name in self.names}
        return {name: tensors[name] for name, tensors in found.items() if tensors is not None}

    def _placed(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Move tensors to the GPU's memory where there is one and they fit."""
        if self.base.device.type != "cuda":
            return tensors
        size = sum(tensor.nbytes for tensor in tensors.values())
        free, total = torch.cuda.mem_get_info(self.base.device)
        if free - size < GPU_FREE * total:
            return tensors
        return {name: tensor.to(self.base.device) for name, tensor in tensors.items()}

    def _sentences(self, shard: int) -> Sentences:
        return self.order[slice(int(self._starts[shard]), int(self._starts[shard + 1]))]

    def _sentences_key(self, shard: int) -> str:
        """Digest of a shard's sentences and of everything else that its values depend on."""
        tokens = self.corpus.tokens(self._sentences(shard))
        sha = hashlib.sha256(self._digest.encode())
        sha.update(tokens.ids_T.numpy().tobytes())
        sha.update(tokens.offsets.numpy().tobytes())
        return sha.hexdigest()

    def _key(self, sentences: str, name: str) -> str:
        """Digest of one tensor of a shard, from the key of its sentences."""
        return hashlib.sha256(f"{sentences} {self.boundary} {name}".encode()).hexdigest()

    def _describe(self, name: str) -> str:
        """Name a stored tensor for people."""
        kind = f"{name} of the states" if self.pooled else "states"
        where = "the end" if self.boundary == self.base.depth else f"layer {self.boundary}"
        return f"{self._name}: {kind} at {where}"

    @torch.no_grad()
    def _compute(self, shard: int, key: str, there: dict[str, Tensor]) -> None:
        """Compute a shard from the highest stored states, and store what is missing up to it.

        Args:
            there: what is stored of the shard; what is computed and stored is added.
        """
        stored: dict[int, Tensor] = {}
        missing = [self]
        for one in reversed(self.below):
            tensors = one._load(key)
            if tensors:
                stored[one.boundary] = tensors[TOKEN_STATES]
            elif self.store.fits(sum(other._bytes(shard) for other in [*missing, one])):
                missing.append(one)
        # States first where statistics of them are to be taken.
        missing.sort(key=lambda one: (one.boundary, one.pooled))
        sentences = self._sentences(shard)
        lengths = self.corpus.lengths[sentences.language, sentences.row]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        calls = offsets[1:] // TOKENS_A_CALL
        parts: dict[tuple[FeatureSet, str], list[Tensor]] = {}
        for call in np.unique(calls):
            (at,) = np.nonzero(calls == call)
            rows = slice(offsets[at[0]], offsets[at[-1] + 1])
            tokens = self.corpus.tokens(sentences[at], self.base.device)
            states, reached = None, 0
            for one in missing:
                nearest = max((b for b in stored if reached < b <= one.boundary), default=None)
                if nearest is not None:
                    values_TD = stored[nearest][rows].to(self.base.device)
                    states, reached = States(values_TD, tokens.offsets), nearest
                if states is None:
                    states = self.base.run_until(tokens, one.boundary)
                elif reached < one.boundary:
                    states = self.base.run_from(states, reached, until=one.boundary)
                self.layers_run += len(tokens.ids_T) * (one.boundary - reached)
                reached = one.boundary
                for name in one.names:
                    if one is not self or name not in there:
                        parts.setdefault((one, name), []).append(getattr(states, name).cpu())
        # What was asked for first: in the end there may be no room for the rest.
        for one, name in sorted(parts, key=lambda part: part[0] is not self):
            made = {name: torch.cat(parts.pop((one, name)))}
            kept = self.store.keep(one._key(key, name), one._describe(name), made)
            if one is self and kept:
                there[name] = kept[name]


def _places(start_B: Ints, rows_B: Ints) -> Tensor:
    """List all row indices of sentences, each given by its first row and its number of rows."""
    ends_B = np.cumsum(rows_B)
    return torch.from_numpy(np.arange(ends_B[-1]) + np.repeat(start_B - ends_B + rows_B, rows_B))
