"""What a search stores of its base's frozen layers: planned from every option of the space."""

from __future__ import annotations

import torch

from components.base import Base
from search.data.pairs import Pairs
from search.data.split import Split
from search.features import FeaturePlan, chosen_boundaries
from search.features.shards import STATISTIC_BYTES
from search.settings.trial import TrialConfig
from search.space.domains import Space
from search.space.probes import probes
from search.space.run_config import RunConfig

# For what a file holds beside the numbers.
MARGIN = 1.02


def plan_features(
    space: Space, config: RunConfig, skeleton: Base, split: Split, trials: int
) -> FeaturePlan:
    """Plan what is stored, from the expected passes of all trials over the sentences.

    Args:
        trials: how many there are to be.
    """
    adapters: dict[str, int] = {}
    read: dict[str, frozenset[str] | None] = {}
    for probe in probes(space):
        trial = TrialConfig.of(probe.values)
        with torch.device("meta"):
            if repr(trial.adapter) not in adapters:
                built = trial.adapter.build(skeleton.model, split.train.families)
                adapters[repr(trial.adapter)] = built.boundary
                built.remove()
            if repr(trial.pooling) not in read:
                read[repr(trial.pooling)] = trial.pooling.build(skeleton.width).statistics
    corpus, validation = split.train, split.validation
    mean = len(corpus.ids) / max(1, sum(corpus.counts))
    scheduler, training = config.search.scheduler, config.training
    pairs = Pairs(
        corpus, training.pairs_per_epoch, training.language_temperature, training.seed_of_pairs
    ).size
    met = min(sum(corpus.counts), 2 * pairs * scheduler.max_epochs)
    # A trial's passes over the sentences that trials meet, times the trials of each adapter.
    passes = trials * scheduler.expected_epochs() * 2 * pairs / met / len(adapters)
    expected: dict[int, float] = {}
    for boundary in adapters.values():
        expected[boundary] = expected.get(boundary, 0.0) + passes
    frozen = skeleton.depth in expected
    share = sum(names is None for names in read.values()) / len(read)
    expected[skeleton.depth] = share * expected.get(skeleton.depth, 0.0)
    expected = {boundary: count for boundary, count in expected.items() if count}
    statistics = frozenset().union(*(names for names in read.values() if names is not None))

    parts = (corpus, validation, *([] if split.test is None else [split.test]))
    kept = sum(part.ids.nbytes + part.starts.nbytes for part in parts)
    if frozen:
        sentences = met + sum(validation.counts)
        kept += sentences * skeleton.width * STATISTIC_BYTES * len(statistics)
    size = skeleton.model.dtype.itemsize * skeleton.width
    tokens = int(met * mean) + len(validation.ids)

    def boundaries(budget: float) -> list[int]:
        return chosen_boundaries(expected, frozen, size, tokens, budget)

    budget = config.cache.max_gb * 1e9
    worth = boundaries(float("inf"))
    return FeaturePlan(
        tuple(boundaries(budget / MARGIN - kept)),
        tuple(sorted(statistics)),
        MARGIN * (kept + len(worth) * size * tokens),
    )
