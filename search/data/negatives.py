"""Hard negatives: sentences similar to an anchor, but not parallel to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search.data.pairs import Pairs
from search.data.tokens import Ints, Sentences, TokenisedCorpus
from search.settings.interface import Mining

ANCHORS_A_CALL = 1024


def mine(
    settings: Mining,
    pairs: Pairs,
    corpus: TokenisedCorpus,
    epochs: range,
    encode: Callable[[Sentences], Tensor],
    seed: int,
) -> NDArray[np.int32]:
    """Find the negatives of every pair that some epochs hold.

    Args:
        epochs: which ones.
        encode: sentences -> unit vectors (B, E), on the CPU.
        seed: of the pool, together with the first epoch.

    Returns:
        rows_LRK: for the positive in language l and row r, the rows of its K negatives, which are
        in language l too; -1 where the epochs have no such pair.
    """
    drawn = [pairs.drawn(epoch) for epoch in epochs]
    anchor = Sentences.join([side for side, _ in drawn])
    positive = Sentences.join([side for _, side in drawn])
    rows = corpus.lengths.shape[1]
    pool = np.arange(rows)
    if settings.pool is not None and settings.pool < rows:
        generator = np.random.default_rng([seed, epochs.start, 2])
        pool = np.sort(generator.choice(rows, settings.pool, replace=False))
    pooled = Sentences(*np.nonzero(corpus.lengths[:, pool]))
    pooled = Sentences(pooled.language, pool[pooled.row])
    # Every sentence is encoded once, whatever parts it plays.
    wanted = Sentences.join([anchor, positive, pooled])
    place, inverse = np.unique(wanted.language * rows + wanted.row, return_inverse=True)
    emb_SE = encode(Sentences(place // rows, place % rows))
    anchor_E, positive_E, pool_E = (
        emb_SE[torch.from_numpy(part)] for part in np.split(inverse, [len(anchor), 2 * len(anchor)])
    )
    found = np.full((*corpus.lengths.shape, settings.count), -1, dtype=np.int32)
    for language in np.unique(positive.language):
        mine_ = np.flatnonzero(positive.language == language)
        theirs = np.flatnonzero(pooled.language == language)
        own = positive.row[mine_]
        chosen = hardest(
            anchor_E[mine_],
            positive_E[mine_],
            pool_E[theirs],
            corpus.is_same_in_parts(anchor[mine_], pooled[theirs]),
            settings.count,
            settings.margin,
        )
        rows_K = np.concatenate([pooled.row[theirs], [-1]])[chosen]
        # Where nothing qualifies, the pair's own row, which no loss takes for a negative of it.
        found[language, own] = np.where(rows_K < 0, own[:, None], rows_K)
    return found


def hardest(
    anchor_PE: Tensor,
    positive_PE: Tensor,
    pool_QE: Tensor,
    is_same: Callable[[slice], NDArray[np.bool_]],
    count: int,
    margin: float | None,
) -> Ints:
    """The most similar sentences of a pool that are not translations of an anchor.

    Args:
        anchor_PE, positive_PE, pool_QE: unit vectors; row p of the positives translates row p of
            the anchors.
        is_same: some of the anchors -> which sentences of the pool are translations of which.
        margin: the most similarity, as a share of the translation's; None for no bound.

    Returns:
        chosen_PK: places in the pool, most similar first; where fewer qualify they are repeated,
        and where none does they are -1.
    """
    if not len(pool_QE):
        return np.full((len(anchor_PE), count), -1, dtype=np.int64)
    chosen = []
    for start in range(0, len(anchor_PE), ANCHORS_A_CALL):
        part = slice(start, start + ANCHORS_A_CALL)
        similarity_PQ = anchor_PE[part] @ pool_QE.T
        out_PQ = torch.from_numpy(is_same(part))
        if margin is not None:
            true_P = (anchor_PE[part] * positive_PE[part]).sum(1)
            # A share of a negative similarity would lie above it.
            bound_P = true_P - (1 - margin) * true_P.abs()
            out_PQ |= similarity_PQ >= bound_P.unsqueeze(1)
        top = similarity_PQ.masked_fill(out_PQ, -torch.inf).topk(min(count, len(pool_QE)), dim=1)
        some_P = top.values > -torch.inf
        filled = torch.arange(count) % some_P.sum(1, keepdim=True).clamp(min=1)
        places = torch.where(some_P, top.indices, -1).gather(1, filled)
        chosen.append(places.numpy())
    return np.concatenate(chosen).astype(np.int64)
