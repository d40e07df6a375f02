"""What an encoder starts from: tokens, stored states at a layer, or stored statistics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from components.base import Base, BaseConfig
from components.base.packing import NAME, VARLEN
from components.encoder import Encoder
from components.ragged import States, Statistics
from search.data.pairs import Pairs
from search.data.tokens import Sentences, TokenisedCorpus
from search.features.digest import describe_states, weights_digest
from search.features.plan import FeaturePlan
from search.features.shards import FeatureSet
from search.runtime.store import Store, open_store, store_folder
from search.settings.sections import CacheSettings
from search.settings.trial import TrainingConfig

Feed = Callable[[Sentences], States | Statistics]


def plain_feed(encoder: Encoder, corpus: TokenisedCorpus) -> Feed:
    """Compute states of sentences from their tokens, each time anew."""
    base = encoder.base

    def feed(sentences: Sentences) -> States:
        tokens = corpus.tokens(sentences, base.device)
        return base(tokens, corpus.family(sentences, base.device))

    return feed


class Features:
    """The stored outputs of a base's frozen layers.

    Args:
        base: adapters in it, if any, lie at the boundaries or above.
        digest: of the base's weights and settings.
        plan: what may be stored.
        training: how most trials meet the sentences, over ``max_epochs`` epochs.
        name: of the base, for people.
    """

    def __init__(
        self,
        base: Base,
        store: Store,
        digest: str,
        plan: FeaturePlan,
        training: TrainingConfig,
        max_epochs: int,
        name: str = "",
    ) -> None:
        self._base = base
        self._name = name
        self._store = store
        self._digest = describe_states(base, digest)
        self._statistics = plan.statistics
        self.boundaries = tuple(
            b for b in plan.boundaries if b == base.depth or base.can_split_at(b)
        )
        self._training = training
        self._max_epochs = max_epochs
        # Keyed by identity: to hash a corpus takes longer than a trial, and the sets keep it alive.
        self._sets: dict[tuple[int, int, tuple[str, ...] | None], FeatureSet] = {}
        self._orders: dict[int, tuple[Sentences, int]] = {}

    def note(self, cache: CacheSettings) -> str:
        """Say that shards found no room; empty while all did."""
        if not any(stored.unstored for stored in self._sets.values()):
            return ""
        return (
            f"not all hidden states find room in {self._store.folder} (cache.max_gb is "
            f"{cache.max_gb:g}, shared by the searches that run now): what is missing is computed "
            f"in every pass over the sentences"
        )

    def feed(self, encoder: Encoder, corpus: TokenisedCorpus) -> tuple[Feed, str]:
        """Choose what an encoder starts from; returns it and its name for people."""
        base, boundary = self._base, encoder.adapter.boundary
        read = encoder.pooling.statistics
        if boundary == base.depth and read is not None:
            names = sorted(read.union(self._statistics))
            return self._set(corpus, boundary, tuple(names)), "statistics"
        below = [b for b in self.boundaries if b <= boundary]
        if not below:
            return plain_feed(encoder, corpus), "tokens"
        stored = self._set(corpus, max(below), None)
        if stored.boundary == base.depth:
            return stored, "states"

        def feed(sentences: Sentences) -> States:
            states = stored(sentences)
            assert isinstance(states, States)
            return base.run_from(states, stored.boundary, corpus.family(sentences, base.device))

        return feed, f"layer {stored.boundary}"

    def _set(
        self, corpus: TokenisedCorpus, boundary: int, statistics: tuple[str, ...] | None
    ) -> FeatureSet:
        key = (id(corpus), boundary, statistics)
        if key not in self._sets:
            # The states that statistics are computed from are stored in the same pass.
            upto = boundary - 1 if statistics is None else boundary
            below = [self._set(corpus, b, None) for b in self.boundaries if b <= upto]
            order, met = self._order(corpus)
            self._sets[key] = FeatureSet(
                self._base,
                corpus,
                boundary,
                statistics,
                self._store,
                self._digest,
                order,
                self._name,
                below,
                met,
            )
        return self._sets[key]

    def _order(self, corpus: TokenisedCorpus) -> tuple[Sentences, int]:
        """List sentences in training order, then the others; and the number of the first part."""
        if id(corpus) not in self._orders:
            settings = self._training
            pairs = Pairs(
                corpus,
                settings.pairs_per_epoch,
                settings.language_temperature,
                settings.seed_of_pairs,
            )
            drawn = [side for epoch in range(self._max_epochs) for side in pairs.drawn(epoch)]
            met = Sentences.join([*drawn, corpus.present()])
            rows = corpus.lengths.shape[1]
            _, first = np.unique(met.language * rows + met.row, return_index=True)
            first = np.sort(first)
            count = int(np.searchsorted(first, sum(len(side) for side in drawn)))
            self._orders[id(corpus)] = met[first], count
        return self._orders[id(corpus)]


def open_features(
    base: Base,
    config: BaseConfig,
    cache: CacheSettings,
    plan: FeaturePlan,
    training: TrainingConfig,
    max_epochs: int,
    began: float | None = None,
) -> Features | None:
    """Open the stored features of a base; None where the settings or the file system allow none.

    Args:
        began: when the search began, in seconds since 1970; now by default. What was used since
            stays in the store.
    """
    store = open_store(cache.folder, cache.max_gb, began)
    if store is None:
        return None
    digest = weights_digest(config, store)
    return Features(base, store, digest, plan, training, max_epochs, config.model)


def performance_notes(
    base: Base, features: Features | None, cache: CacheSettings, plan: FeaturePlan
) -> list[str]:
    """Say where the base runs a slow path: padded, or without stored states."""
    notes = list(base.notes)
    if features and (note := plan.note(cache)):
        notes.append(note)
    if features is None and cache.max_gb:
        notes.append(
            f"every trial runs the whole base: nothing can be stored in "
            f"{store_folder(cache.folder)}, which must be a folder to write to"
        )
    if base.position_offset is None:
        notes.append(
            f"the base runs on padded sentences, which is slower: packed, a "
            f"{base.model.config.model_type} gives other states"
        )
    elif features and len(features.boundaries) < len(plan.boundaries):
        notes.append(
            f"trials with adapters run the whole base: from the middle on, a "
            f"{base.model.config.model_type} gives other states"
        )
    if base.attention == NAME and VARLEN in base.passed_over:
        notes.append(
            f"the base runs without torch's kernel for packed sentences, which is slower: "
            f"{base.passed_over[VARLEN]}"
        )
    return notes
