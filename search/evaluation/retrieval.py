"""Retrieval accuracy, language by language."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.encoder import Encoder
from search.data.tokens import Sentences, TokenisedCorpus
from search.features import Feed, plain_feed
from search.runtime.ranks import Ranks
from search.settings.trial import Scores

TOKENS_A_CALL = 8192
QUERIES_A_CALL = 1024


@torch.no_grad()
def encode(
    encoder: Encoder,
    corpus: TokenisedCorpus,
    sentences: Sentences,
    ranks: Ranks,
    feed: Feed | None = None,
) -> Tensor:
    """Encode sentences, shared out among the workers.

    Args:
        feed: what the encoder starts from; the sentences' tokens, by default.

    Returns:
        emb_BE: float32 on the CPU, on every worker.
    """
    feed = feed or plain_feed(encoder, corpus)
    lengths = corpus.lengths[sentences.language, sentences.row]
    order = np.argsort(-lengths, kind="stable")
    mine = order[ranks.rank :: ranks.size]
    calls = np.cumsum(lengths[mine]) // TOKENS_A_CALL
    parts = []
    for call in np.unique(calls):
        chosen = sentences[mine[calls == call]]
        emb_BE, _ = encoder.embed(feed(chosen), corpus.family(chosen, encoder.base.device))
        parts.append(emb_BE.cpu())
    own = torch.cat(parts) if parts else torch.zeros(0, 0)
    gathered = [part for part in ranks.collect(own) if len(part)]
    emb_BE = torch.empty(len(sentences), gathered[0].shape[1])
    emb_BE[torch.from_numpy(np.concatenate([order[r :: ranks.size] for r in range(ranks.size)]))] \
        = torch.cat(gathered)  # fmt: skip
    return emb_BE


def evaluate(
    encoder: Encoder, corpus: TokenisedCorpus, ranks: Ranks, feed: Feed | None = None
) -> Scores:
    """Score an encoder on validation sentences; it is left in evaluation mode."""
    encoder.eval()
    return score(encode(encoder, corpus, corpus.present(), ranks, feed), corpus)


def score(emb_BE: Tensor, corpus: TokenisedCorpus) -> Scores:
    """Score the embeddings of a corpus' sentences.

    For each language other than the pivot, over the rows that have both: the share of sentences
    whose nearest neighbour (by cosine) in the other language is right, the mean of both directions.
    Right is the text of the translation, in whichever row it stands, and every other recorded
    translation of the sentence (see `TokenisedCorpus.is_same`).

    Args:
        emb_BE: unit vectors of ``corpus.present()``, in that order.
    """
    sentences = corpus.present()
    place = np.full(corpus.lengths.shape, -1)
    place[sentences.language, sentences.row] = np.arange(len(sentences))
    by_language = {}
    for index, name in enumerate(corpus.languages):
        if index == corpus.pivot:
            continue
        both = np.flatnonzero((place[index] >= 0) & (place[corpus.pivot] >= 0))
        sides = [Sentences(np.full(len(both), one), both) for one in (index, corpus.pivot)]
        here, there = (place[side.language, side.row] for side in sides)
        right = [
            top1(emb_BE[query], emb_BE[candidate], corpus.is_same_in_parts(*of))
            for query, candidate, of in ((here, there, sides), (there, here, sides[::-1]))
        ]
        by_language[name] = sum(right) / 2
    return Scores(float(np.mean(list(by_language.values()))), by_language)


def top1(
    query_NE: Tensor, candidate_NE: Tensor, is_same: Callable[[slice], NDArray[np.bool_]]
) -> float:
    """Share of the queries whose nearest candidate is right; NaN if any number is.

    Args:
        is_same: some of the queries -> which candidates are right for which.
    """
    # A sum over unit vectors is finite where all of them are, and takes a fifteenth of the time.
    if not math.isfinite(query_NE.sum() + candidate_NE.sum()):
        return math.nan
    right = 0
    for start in range(0, len(query_NE), QUERIES_A_CALL):
        part = slice(start, start + QUERIES_A_CALL)
        nearest = (query_NE[part] @ candidate_NE.T).argmax(dim=1).cpu().numpy()
        same = is_same(part)
        right += int(same[np.arange(len(same)), nearest].sum())
    return right / len(query_NE)
