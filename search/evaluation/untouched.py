"""Score the base as it is, without any training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from components.adapter.none import NoAdapterConfig
from components.base import Base
from components.base.shipped import Shipped
from components.encoder import Encoder, assemble
from components.head.identity import Identity
from components.interface import PoolingConfig
from components.pooling.cls import Cls
from components.pooling.last import Last
from components.pooling.length_mean import LengthMean
from components.pooling.max import Max
from components.pooling.mean import Mean
from components.pooling.position_weighted import PositionWeighted
from search.data.tokens import TokenisedCorpus
from search.evaluation.retrieval import evaluate
from search.features import Features, plain_feed
from search.runtime.randomness import random_state, set_random_state
from search.runtime.ranks import Ranks
from search.scoring.settings import Scoring
from search.settings.trial import Scores

# Names of sentence-transformers' pooling modes -> ours.
POOLINGS: dict[str, PoolingConfig] = {
    "mean": Mean(),
    "cls": Cls(),
    "lasttoken": Last(),
    "max": Max(),
    "mean_sqrt_len_tokens": LengthMean(power=0.5),
    "weightedmean": PositionWeighted(),
}
# Folders written before its version 6 have a switch for each mode.
SWITCHES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}


def own_pooling(shipped: Shipped) -> PoolingConfig:
    """Find the pooling that a base was published with: by sentence-transformers, its own.

    Every other base has none, and is pooled by the mean. So is one that lays several poolings end
    to end.
    """
    mode = shipped.pooling.get("pooling_mode")
    if mode is None:
        modes = [name for switch, name in SWITCHES.items() if shipped.pooling.get(switch)]
        mode = modes[0] if len(modes) == 1 else None
    return POOLINGS.get(str(mode), Mean())


@torch.no_grad()
def score_untouched(
    base: Base,
    corpus: TokenisedCorpus,
    features: Features | None = None,
    ranks: Ranks | None = None,
    scoring: Scoring | None = None,
) -> Scores:
    """Score a base with its own pooling and no training: what a trial must at least beat.

    Args:
        corpus: validation sentences.
        features: stored outputs of the base's layers, which make this nearly free.
        ranks: the workers that share the sentences; this process alone by default.
        scoring: what is maximised; the mean of accuracy by default.
    """
    with untouched_encoder(base) as encoder:
        feed = features.feed(encoder, corpus)[0] if features else plain_feed(encoder, corpus)
        return evaluate(encoder, corpus, ranks or Ranks(), feed, scoring)


@contextmanager
def untouched_encoder(base: Base) -> Iterator[Encoder]:
    """Put a base together with its own pooling, and nothing that trains."""
    random = random_state()  # trials draw the same numbers whether this has run or not
    try:
        encoder = assemble(base, NoAdapterConfig(), own_pooling(base.shipped), Identity())
        try:
            yield encoder
        finally:
            encoder.close()
    finally:
        set_random_state(random)
