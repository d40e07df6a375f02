"""Outputs of a base's frozen layers, computed once for every trial, lane and later search.

A trial without an adapter needs only a few statistics of each sentence or, where its pooling works
on tokens, their last hidden states. A trial with adapters on the last layers needs the hidden
states that enter the first of these. All of it is stored under a digest of what it was computed
from, in shards: sentences in the order in which trials meet them, so that a search computes no more
than it uses. `plan` decides what to store, `shards` computes and stores it, `states` hands it to
encoders.
"""

from search.features.digest import weights_digest
from search.features.plan import FeaturePlan, chosen_boundaries
from search.features.shards import FeatureSet
from search.features.states import Features, Feed, open_features, performance_notes, plain_feed

__all__ = [
    "FeaturePlan",
    "FeatureSet",
    "Features",
    "Feed",
    "chosen_boundaries",
    "open_features",
    "performance_notes",
    "plain_feed",
    "weights_digest",
]
