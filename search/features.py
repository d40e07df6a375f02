"""What the frozen layers of a base give, computed once for every trial, lane and later search.

A trial without an adapter needs only a few statistics of each sentence or, where its pooling learns
over tokens, their last states. A trial with adapters on the last layers needs the states that enter
the first of these. All of it is stored by what it was computed from, in shards: sentences in the
order in which trials meet them, so that a search computes no more than it uses.

In float32 on a CPU a stored state of a packed base is, bit for bit, what the base would give in any
batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import snapshot_download
from torch import Tensor

from components.base import Base, BaseConfig
from components.base.locate import locate
from components.encoder import Encoder
from components.interface import Pooling
from components.ragged import STATISTICS, States, Statistics
from search.data.pairs import Pairs
from search.data.tokens import Ints, Sentences, TokenisedCorpus
from search.settings import CacheSettings
from search.store import Store, folder_of, open_store
from search.trial import TrainingConfig

# Of one shard: small enough to compute while another lane does the next, large enough for a file.
SHARD_TOKENS = 16_384
TOKENS_A_CALL = 8192
# Of a GPU's memory: shards stay there while so much of it is free for training.
GPU_FREE = 0.5
FORMAT = 2
WEIGHTS = ("*.safetensors", "*.bin", "*.py")

Feed = Callable[[Sentences], States | Statistics]


def plain_feed(encoder: Encoder, corpus: TokenisedCorpus) -> Feed:
    """States of sentences from their tokens, computed each time."""
    base = encoder.base

    def feed(sentences: Sentences) -> States:
        tokens = corpus.tokens(sentences, base.device)
        return base(tokens, corpus.family(sentences, base.device))

    return feed


class FeatureSet:
    """What one boundary gives of one corpus.

    Args:
        boundary: index of the first layer that is not in it; the depth for the last states.
        pooled: only their statistics.
        digest: of all that the numbers depend on, but the tokens and the boundary.
        order: every sentence of the corpus, in the order of shards.
        name: of the base.
        met: how many sentences at the head of the order trials are sure to ask for; no shard holds
            sentences from both sides of that line.

    Attributes:
        below: sets of states on the way to the boundary, of the same corpus in the same order; they
            are computed with it where they are missing.
        layers_run: layers computed here, each times the tokens that it was computed for.
    """

    def __init__(
        self,
        base: Base,
        corpus: TokenisedCorpus,
        boundary: int,
        pooled: bool,
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
        self.pooled = pooled
        self.store = store
        self.order = order
        self.below = below
        self.layers_run = 0
        self._digest = digest
        self._name = name
        # What is stored has a row for each sentence, or for each token.
        self._rows = np.sign(corpus.lengths) if pooled else corpus.lengths
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

    def __call__(self, sentences: Sentences) -> States | Statistics:
        """What is stored of some sentences, on the base's device."""
        at = sentences.language, sentences.row
        shard_B, place_B, rows_B = self._shard[at], self._place[at], self._rows[at]
        offsets = np.concatenate([[0], np.cumsum(rows_B)])
        # Fetched shard by shard, then put where they were asked for.
        order = np.argsort(shard_B, kind="stable")
        numbers, first = np.unique(shard_B[order], return_index=True)
        shards, sizes = numbers.tolist(), np.add.reduceat(rows_B[order], first).tolist()
        device = self.base.device
        source = _places(place_B[order], rows_B[order]).to(device)
        target = _places(offsets[order], rows_B[order]).to(device)
        self._ensure(shards)

        def stored(name: str) -> Tensor:
            kept = [self._loaded[shard][name] for shard in shards]
            parts = [
                values.index_select(0, rows.to(values.device)).to(device)
                for values, rows in zip(kept, torch.split(source, sizes), strict=True)
            ]
            fetched = torch.cat(parts)
            return torch.empty_like(fetched).index_copy_(0, target, fetched)

        if self.pooled:
            return Statistics(stored)
        return States(stored("values_TD"), torch.from_numpy(offsets).to(device))

    def _ensure(self, shards: Sequence[int]) -> None:
        """Have some shards at hand; what another lane computes is left to it, and done last."""
        missing = [shard for shard in shards if shard not in self._loaded]
        wait = False
        while missing:
            for shard in missing:
                tensors = self._fetch(shard, wait)
                if tensors is not None:
                    self._loaded[shard] = self._placed(tensors)
            missing = [shard for shard in missing if shard not in self._loaded]
            wait = True

    def _fetch(self, shard: int, wait: bool) -> dict[str, Tensor] | None:
        """A shard, computed where it is missing; None where another lane is at these sentences."""
        sentences = self._sentences_key(shard)
        key = self._key(sentences)
        tensors = self.store.load(key)
        if tensors is None:
            with self.store.held(sentences, wait) as held:
                if held:
                    there = self.store.load(key)
                    tensors = self._compute(shard, sentences) if there is None else there
        return tensors

    def _placed(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """On a GPU they stay in its memory where they fit."""
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
        """Of all that is stored of a shard's sentences."""
        tokens = self.corpus.tokens(self._sentences(shard))
        sha = hashlib.sha256(self._digest.encode())
        sha.update(tokens.ids_T.numpy().tobytes())
        sha.update(tokens.offsets.numpy().tobytes())
        return sha.hexdigest()

    def _key(self, sentences: str) -> str:
        """Of what this set stores of a shard, from the key of its sentences."""
        whole = f"{sentences} {self.boundary} {self.pooled}"
        return hashlib.sha256(whole.encode()).hexdigest()

    def _what(self) -> str:
        kind = "statistics" if self.pooled else "states"
        where = "the end" if self.boundary == self.base.depth else f"layer {self.boundary}"
        return f"{self._name}: {kind} at {where}"

    @torch.no_grad()
    def _compute(self, shard: int, key: str) -> dict[str, Tensor]:
        """Compute a shard from the highest states that are stored, and what is missing between."""
        stored: dict[int, Tensor] = {}
        missing = [self]
        for one in self.below:
            tensors = self.store.load(one._key(key))
            if tensors is None:
                missing.append(one)
            else:
                stored[one.boundary] = tensors["values_TD"]
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
                    states = self.base.below(tokens, one.boundary)
                elif reached < one.boundary:
                    states = self.base.above(states, reached, until=one.boundary)
                self.layers_run += len(tokens.ids_T) * (one.boundary - reached)
                reached = one.boundary
                for name in STATISTICS if one.pooled else ("values_TD",):
                    parts.setdefault((one, name), []).append(getattr(states, name).cpu())
        made: dict[FeatureSet, dict[str, Tensor]] = {}
        for (one, name), part in parts.items():
            made.setdefault(one, {})[name] = torch.cat(part)
        kept = {
            one: self.store.keep(one._key(key), one._what(), tensors)
            for one, tensors in made.items()
        }
        return kept[self]


def _places(start_B: Ints, rows_B: Ints) -> Tensor:
    """All rows of some sentences, of which one begins where the count says and has so many."""
    ends_B = np.cumsum(rows_B)
    return torch.from_numpy(np.arange(ends_B[-1]) + np.repeat(start_B - ends_B + rows_B, rows_B))


class Features:
    """The stored outputs of a base's frozen layers.

    Args:
        base: whose adapters, if any are in it, lie at the boundaries or above.
        digest: of the base's weights and settings.
        boundaries: layers at which states may be stored, for adapters above them; the depth stands
            for the last states, for poolings that learn over tokens.
        training: how most trials meet the sentences, over so many epochs.
        name: of the base, for people.
    """

    def __init__(
        self,
        base: Base,
        store: Store,
        digest: str,
        boundaries: Sequence[int],
        training: TrainingConfig,
        max_epochs: int,
        name: str = "",
    ) -> None:
        self._base = base
        self._name = name
        self._store = store
        self._digest = _key_of(base, digest)
        self.boundaries = tuple(b for b in boundaries if b == base.depth or base.cuttable(b))
        self._training = training
        self._max_epochs = max_epochs
        # By the corpus itself, which its sets keep alive: to hash it takes longer than a trial.
        self._sets: dict[tuple[int, int, bool], FeatureSet] = {}
        self._orders: dict[int, tuple[Sentences, int]] = {}

    def feed(self, encoder: Encoder, corpus: TokenisedCorpus) -> tuple[Feed, str]:
        """What an encoder is to start from, and what that is in words."""
        base, boundary = self._base, encoder.adapter.boundary
        if boundary == base.depth and not needs_tokens(encoder.pooling, base.width):
            return self._set(corpus, boundary, True), "statistics"
        below = [b for b in self.boundaries if b <= boundary]
        if not below:
            return plain_feed(encoder, corpus), "tokens"
        stored = self._set(corpus, max(below), False)
        if stored.boundary == base.depth:
            return stored, "states"

        def feed(sentences: Sentences) -> States:
            states = stored(sentences)
            assert isinstance(states, States)
            return base.above(states, stored.boundary, corpus.family(sentences, base.device))

        return feed, f"layer {stored.boundary}"

    def _set(self, corpus: TokenisedCorpus, boundary: int, pooled: bool) -> FeatureSet:
        key = (id(corpus), boundary, pooled)
        if key not in self._sets:
            # Statistics have the states that they are of on their way.
            upto = boundary if pooled else boundary - 1
            below = [self._set(corpus, b, False) for b in self.boundaries if b <= upto]
            order, met = self._order(corpus)
            self._sets[key] = FeatureSet(
                self._base,
                corpus,
                boundary,
                pooled,
                self._store,
                self._digest,
                order,
                self._name,
                below,
                met,
            )
        return self._sets[key]

    def _order(self, corpus: TokenisedCorpus) -> tuple[Sentences, int]:
        """Sentences as trials meet them, then those that they may not meet; how many they meet."""
        if id(corpus) not in self._orders:
            settings = self._training
            pairs = Pairs(
                corpus, settings.pairs_per_epoch, settings.language_temperature, settings.seed
            )
            drawn = [side for epoch in range(self._max_epochs) for side in pairs.drawn(epoch)]
            met = Sentences.join([*drawn, corpus.present()])
            rows = corpus.lengths.shape[1]
            _, first = np.unique(met.language * rows + met.row, return_index=True)
            first = np.sort(first)
            count = int(np.searchsorted(first, sum(len(side) for side in drawn)))
            self._orders[id(corpus)] = met[first], count
        return self._orders[id(corpus)]


def needs_tokens(pooling: Pooling, width: int) -> bool:
    """Whether a pooling asks for more than the statistics of a sentence."""
    device = next((parameter.device for parameter in pooling.parameters()), torch.device("cpu"))
    blank = torch.ones(1, width, device=device)
    try:
        with torch.no_grad():
            pooling(Statistics(lambda name: blank[:, :1] if name == "count" else blank))
    except AttributeError:
        return True
    return False


def _key_of(base: Base, digest: str) -> str:
    """Everything that a stored number depends on, but the tokens and the layer."""
    config = base.model.config.to_dict()
    config.pop("_name_or_path", None)
    return json.dumps(
        {
            "format": FORMAT,
            "weights": digest,
            "config": config,
            "dtype": str(base.model.dtype),
            "attention": base.attention,
            "first_position": base.first_position,
            "device": base.device.type,
            "torch": version("torch"),
            "transformers": version("transformers"),
        },
        sort_keys=True,
        default=str,
    )


def open_features(
    base: Base,
    config: BaseConfig,
    cache: CacheSettings,
    boundaries: Sequence[int],
    training: TrainingConfig,
    max_epochs: int,
) -> Features | None:
    """The features of a base, where the settings allow any and there is a place for them."""
    store = open_store(cache)
    if store is None:
        return None
    digest = weights_digest(config, store)
    return Features(base, store, digest, boundaries, training, max_epochs, config.model)


def told_of(
    base: Base, features: Features | None, cache: CacheSettings, boundaries: Sequence[int]
) -> list[str]:
    """What a person should know of how the base runs, where it does not run as it could."""
    notes = list(base.notes)
    if features is None and cache.max_gb:
        notes.append(
            f"every trial runs the whole base: nothing can be stored in {folder_of(cache)}, which "
            f"must be a folder to write to"
        )
    if base.first_position is None:
        notes.append(
            f"the base runs on padded sentences, which is slower: packed, a "
            f"{base.model.config.model_type} gives other states"
        )
    elif features and len(features.boundaries) < len(boundaries):
        notes.append(
            f"trials with adapters run the whole base: from the middle on, a "
            f"{base.model.config.model_type} gives other states"
        )
    return notes


def weights_digest(config: BaseConfig, store: Store) -> str:
    """SHA-256 of the files of a base: its weights, and the code it brings.

    Reading them takes long where they are large, so the digest of a file is stored: it holds for as
    long as nobody has touched the file.
    """
    source = locate(config.model)
    folder = Path(source)
    if not folder.is_dir():
        folder = Path(snapshot_download(source, revision=config.revision, local_files_only=True))
    sha = hashlib.sha256()
    for file in sorted(found for kind in WEIGHTS for found in folder.glob(kind)):
        stat = file.stat()
        touched = f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        key = hashlib.sha256(touched.encode()).hexdigest()
        what = f"{config.model}: digests of weights"
        digest = store.build(key, what, partial(_digest, file), wait=True)
        assert digest is not None
        sha.update(digest["sha256"].numpy().tobytes())
    return sha.hexdigest()


def _digest(file: Path) -> dict[str, Tensor]:
    with file.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").digest()
    return {"sha256": torch.frombuffer(bytearray(digest), dtype=torch.uint8)}


def chosen_boundaries(
    expected: dict[int, float], whole: bool, state_bytes: int, tokens: int, budget: float
) -> list[int]:
    """Which layers' states to store.

    An adapter on the last N layers starts from the highest stored boundary at or below L - N, and
    saves as many layers for each token it meets; a pooling that learns over the tokens of a frozen
    base starts from its last states, boundary L, where these are stored. Of all sets of boundaries
    within the budget, this is the one that saves most, once the layers below the highest have been
    run for it, unless they are run for another trial in any case.

    Args:
        expected: boundary -> passes over the tokens made by trials that would start there.
        whole: some trial runs all layers, whatever is stored.
        state_bytes: of one token's state.
        tokens: that the trials meet.
        budget: bytes.

    Returns:
        In ascending order; none where storing saves nothing.
    """
    candidates = sorted(b for b in expected if b > 0)
    most = int(budget // max(1, state_bytes * tokens))

    @cache
    def best(last: int, left: int) -> tuple[float, list[int]]:
        """What so many boundaries above one that is stored save at most, and which."""
        found: tuple[float, list[int]] = (0.0, [])
        for boundary in candidates if left else []:
            if boundary > last:
                passes = sum(expected[above] for above in candidates if above >= boundary)
                more, others = best(boundary, left - 1)
                saved = (passes - (not whole)) * (boundary - last) + more
                option = saved, [boundary, *others]
                found = max(found, option, key=lambda one: (one[0], -len(one[1])))
        return found

    return best(0, min(most, len(candidates)))[1]
