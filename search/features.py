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
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from huggingface_hub import snapshot_download
from torch import Tensor

from components.base import Base, BaseConfig
from components.base.loading import locate
from components.encoder import Encoder
from components.interface import Pooling
from components.ragged import STATISTICS, States, Statistics
from search.data.pairs import Pairs
from search.data.tokens import Ints, Sentences, TokenisedCorpus
from search.settings import CacheSettings
from search.store import Store, default_folder
from search.trial import TrainingConfig

# Of one shard: small enough to compute while another lane does the next, large enough for a file.
SHARD_TOKENS = 16_384
TOKENS_A_CALL = 8192
# Of a GPU's memory: shards stay there while so much of it is free for training.
GPU_FREE = 0.5
FORMAT = 1
WEIGHTS = ("*.safetensors", "*.bin", "*.py")

Feed = Callable[[Sentences], States | Statistics]


def plain_feed(encoder: Encoder, corpus: TokenisedCorpus) -> Feed:
    """States of sentences from their tokens, computed each time."""
    base = encoder.base

    def feed(sentences: Sentences) -> States:
        tokens = corpus.tokens(sentences, base.device)
        return base(tokens, corpus.family(sentences, base.device))

    return feed


@dataclass
class FeatureSet:
    """What one boundary gives of one corpus.

    Attributes:
        boundary: index of the first layer that is not in it; the depth for the last states.
        pooled: only their statistics.
        digest: of all that the numbers depend on, but the tokens and the boundary.
        order: every sentence of the corpus, in the order of shards.
        name: of the base.
    """

    base: Base
    corpus: TokenisedCorpus
    boundary: int
    pooled: bool
    store: Store
    digest: str
    order: Sentences
    name: str

    def __post_init__(self) -> None:
        # What is stored has a row for each sentence, or for each token.
        self._rows = np.sign(self.corpus.lengths) if self.pooled else self.corpus.lengths
        at = self.order.language, self.order.row
        # Cut where the count of tokens passes a multiple of the shard's size.
        shard = (np.cumsum(self.corpus.lengths[at]) - 1) // SHARD_TOKENS
        numbers, shard = np.unique(shard, return_inverse=True)
        self._starts: Ints = np.searchsorted(shard, np.arange(len(numbers) + 1))
        row = np.cumsum(self._rows[at]) - self._rows[at]
        self._shard = np.full(self._rows.shape, -1)
        self._place = np.full(self._rows.shape, -1)
        self._shard[at] = shard
        self._place[at] = row - row[self._starts[shard]]
        self._loaded: dict[int, dict[str, Tensor]] = {}
        self.built_tokens = 0

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
                key = self._key(shard)
                compute = partial(self._compute, shard)
                tensors = self.store.load(key)
                if tensors is None:
                    tensors = self.store.build(key, self._what(), compute, wait)
                if tensors is not None:
                    self._loaded[shard] = self._placed(tensors)
            missing = [shard for shard in missing if shard not in self._loaded]
            wait = True

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

    def _key(self, shard: int) -> str:
        tokens = self.corpus.tokens(self._sentences(shard))
        sha = hashlib.sha256(self.digest.encode())
        sha.update(f"{self.boundary} {self.pooled}".encode())
        sha.update(tokens.ids_T.numpy().tobytes())
        sha.update(tokens.offsets.numpy().tobytes())
        return sha.hexdigest()

    def _what(self) -> str:
        kind = "statistics" if self.pooled else "states"
        where = "the end" if self.boundary == self.base.depth else f"layer {self.boundary}"
        return f"{self.name}: {kind} at {where}"

    @torch.no_grad()
    def _compute(self, shard: int) -> dict[str, Tensor]:
        sentences = self._sentences(shard)
        lengths = self.corpus.lengths[sentences.language, sentences.row]
        self.built_tokens += int(lengths.sum())
        calls = np.cumsum(lengths) // TOKENS_A_CALL
        parts: dict[str, list[Tensor]] = {}
        for call in np.unique(calls):
            tokens = self.corpus.tokens(sentences[calls == call], self.base.device)
            states = self.base.below(tokens, self.boundary)
            names = STATISTICS if self.pooled else ("values_TD",)
            for name in names:
                parts.setdefault(name, []).append(getattr(states, name).cpu())
        return {name: torch.cat(part) for name, part in parts.items()}


def _places(start_B: Ints, rows_B: Ints) -> Tensor:
    """All rows of some sentences, of which one begins where the count says and has so many."""
    ends_B = np.cumsum(rows_B)
    return torch.from_numpy(np.arange(ends_B[-1]) + np.repeat(start_B - ends_B + rows_B, rows_B))


class Features:
    """The stored outputs of a base's frozen layers.

    Args:
        base: whose adapters, if any are in it, lie at the boundaries or above.
        digest: of the base's weights and settings.
        boundaries: layers at which states may be stored, for adapters above them.
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
        self.boundaries = tuple(b for b in boundaries if base.cuttable(b))
        self._training = training
        self._max_epochs = max_epochs
        # By the corpus itself, which its sets keep alive: to hash it takes longer than a trial.
        self._sets: dict[tuple[int, int, bool], FeatureSet] = {}
        self._orders: dict[int, Sentences] = {}

    def feed(self, encoder: Encoder, corpus: TokenisedCorpus) -> tuple[Feed, str]:
        """What an encoder is to start from, and what that is in words."""
        base, boundary = self._base, encoder.adapter.boundary
        if boundary == base.depth:
            pooled = not needs_tokens(encoder.pooling, base.width)
            return self._set(corpus, boundary, pooled), "statistics" if pooled else "states"
        below = [b for b in self.boundaries if b <= boundary]
        if not below:
            return plain_feed(encoder, corpus), "tokens"
        stored = self._set(corpus, max(below), False)

        def feed(sentences: Sentences) -> States:
            states = stored(sentences)
            assert isinstance(states, States)
            return base.above(states, stored.boundary, corpus.family(sentences, base.device))

        return feed, f"layer {stored.boundary}"

    def _set(self, corpus: TokenisedCorpus, boundary: int, pooled: bool) -> FeatureSet:
        key = (id(corpus), boundary, pooled)
        if key not in self._sets:
            self._sets[key] = FeatureSet(
                self._base,
                corpus,
                boundary,
                pooled,
                self._store,
                self._digest,
                self._order(corpus),
                self._name,
            )
        return self._sets[key]

    def _order(self, corpus: TokenisedCorpus) -> Sentences:
        """Sentences as trials meet them, then those that they may not meet."""
        if id(corpus) not in self._orders:
            settings = self._training
            pairs = Pairs(
                corpus, settings.pairs_per_epoch, settings.language_temperature, settings.seed
            )
            drawn = [side for epoch in range(self._max_epochs) for side in pairs.drawn(epoch)]
            met = Sentences.join([*drawn, corpus.present()])
            rows = corpus.lengths.shape[1]
            _, first = np.unique(met.language * rows + met.row, return_index=True)
            self._orders[id(corpus)] = met[np.sort(first)]
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
            "packed": base.first_position,
            "max_length": base.max_length,  # the most that attention pads to
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
    if not cache.max_gb:
        return None
    folder = _folder(cache)
    try:
        store = Store(folder, cache.max_gb * 1e9)
        with TemporaryFile(dir=folder):
            pass
    except OSError:
        return None
    digest = weights_digest(config, store)
    return Features(base, store, digest, boundaries, training, max_epochs, config.model)


def _folder(cache: CacheSettings) -> Path:
    return Path(cache.folder).expanduser() if cache.folder else default_folder()


def told_of(
    base: Base, features: Features | None, cache: CacheSettings, boundaries: Sequence[int]
) -> list[str]:
    """What a person should know of how the base runs, where it does not run as it could."""
    notes = []
    if features is None and cache.max_gb:
        notes.append(
            f"every trial runs the whole base: nothing can be stored in {_folder(cache)}, which "
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
    depth: int,
    expected: dict[int, float],
    state_bytes: int,
    tokens: int,
    budget: float,
) -> list[int]:
    """Which layers' states to store.

    An adapter on the last N layers starts from the highest stored boundary at or below L - N, and
    saves as many layers for each token it meets. Of all sets of boundaries within the budget, this
    is the one that saves most, once computing each boundary, which takes one pass over the layers
    below it, has been paid.

    Args:
        depth: layers L of the base.
        expected: boundary L - N -> passes over the tokens that trials with such an adapter make.
        state_bytes: of one token's state.
        tokens: that the trials meet.
        budget: bytes.

    Returns:
        In ascending order; none where storing saves nothing.
    """
    candidates = sorted(b for b in expected if 0 < b < depth)
    most = int(budget // max(1, state_bytes * tokens))

    @cache
    def best(last: int, left: int) -> tuple[float, list[int]]:
        """What so many boundaries above one that is stored save at most, and which."""
        found: tuple[float, list[int]] = (0.0, [])
        for boundary in candidates if left else []:
            if boundary > last:
                passes = sum(expected[above] for above in candidates if above >= boundary)
                more, others = best(boundary, left - 1)
                saved = passes * (boundary - last) - boundary + more
                option = saved, [boundary, *others]
                found = max(found, option, key=lambda one: (one[0], -len(one[1])))
        return found

    return best(0, min(most, len(candidates)))[1]
