"""Encode a corpus and score it, language by language."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from components.encoder import Encoder
from search.data.tokens import Sentences, TokenisedCorpus
from search.features import Feed, plain_feed
from search.runtime.precision import exact_products
from search.runtime.ranks import Ranks
from search.scoring.interface import Comparison, Metric
from search.scoring.metric.accuracy import Accuracy
from search.scoring.neighbours import Direction
from search.scoring.settings import Scoring
from search.settings.trial import Scores

TOKENS_A_CALL = 8192


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
    encoder: Encoder,
    corpus: TokenisedCorpus,
    ranks: Ranks,
    feed: Feed | None = None,
    scoring: Scoring | None = None,
) -> Scores:
    """Score an encoder on validation sentences; it is left in evaluation mode."""
    encoder.eval()
    emb_BE = encode(encoder, corpus, corpus.present(), ranks, feed)
    return score(emb_BE.to(encoder.base.device), corpus, scoring)


@exact_products()
def score(emb_BE: Tensor, corpus: TokenisedCorpus, scoring: Scoring | None = None) -> Scores:
    """Score the embeddings of a corpus' sentences, on the device that holds them.

    For each language other than the pivot, over the rows that have both: the share of sentences
    whose nearest neighbour (by cosine) in the other language is right, the mean of both directions.
    Right is the text of the translation, in whichever row it stands, and every other recorded
    translation of the sentence (see `TokenisedCorpus.is_same`).

    Args:
        emb_BE: unit vectors of ``corpus.present()``, in that order.
        scoring: what else is measured, and what is maximised; the mean of accuracy by default.
    """
    return _score(comparisons(emb_BE, corpus), corpus, scoring or Scoring())


def score_pairs(
    emb_BE: Tensor, corpus: TokenisedCorpus, scoring: Scoring | None = None
) -> tuple[Scores, dict[str, str]]:
    """Score as `score` does, and say of each pair whether it was found.

    Returns:
        The scores, and for each language a character a row: in how many directions, of both, the
        translation was found, or ``-`` where there is no pair.
    """
    pairs = comparisons(emb_BE, corpus)
    found = {}
    there_LR = corpus.lengths > 0
    for name, pair in pairs.items():
        digits = np.full(corpus.rows, "-")
        both_R = there_LR[corpus.languages.index(name)] & there_LR[corpus.pivot]
        times = sum(one.is_right_Q.numpy().astype(np.int64) for one in pair.directions)
        digits[both_R] = np.asarray(times).astype(str)
        found[name] = "".join(digits)
    return _score(pairs, corpus, scoring or Scoring()), found


def _score(pairs: Mapping[str, Comparison], corpus: TokenisedCorpus, scoring: Scoring) -> Scores:
    by_language = {name: measure(Accuracy(), pair) for name, pair in pairs.items()}
    accuracy = float(np.mean(list(by_language.values())))
    if scoring.is_mean_accuracy:
        return Scores(accuracy, by_language)
    is_accuracy = scoring.is_accuracy
    metric = (
        by_language
        if is_accuracy
        else {name: measure(scoring.metric, pair) for name, pair in pairs.items()}
    )
    families = corpus.family_by_language
    objective = scoring.value(metric, families)
    return Scores(accuracy, by_language, objective, {} if is_accuracy else metric)


def comparisons(emb_BE: Tensor, corpus: TokenisedCorpus) -> dict[str, Comparison]:
    """Put each language beside the pivot, over the rows that have both.

    Args:
        emb_BE: unit vectors of ``corpus.present()``, in that order.
    """
    sentences = corpus.present()
    place = np.full(corpus.lengths.shape, -1)
    place[sentences.language, sentences.row] = np.arange(len(sentences))
    pairs = {}
    for index, name in enumerate(corpus.languages):
        if index == corpus.pivot:
            continue
        both = np.flatnonzero((place[index] >= 0) & (place[corpus.pivot] >= 0))
        here, there = (Sentences(np.full(len(both), one), both) for one in (index, corpus.pivot))
        emb_QE, pivot_QE = (
            emb_BE[torch.from_numpy(place[side.language, side.row]).to(emb_BE.device)]
            for side in (here, there)
        )
        pairs[name] = Comparison(
            Direction(emb_QE, pivot_QE, corpus.is_same_in_parts(here, there)),
            Direction(pivot_QE, emb_QE, corpus.is_same_in_parts(there, here)),
        )
    return pairs


def measure(metric: Metric, pair: Comparison) -> float:
    """Measure one language; NaN where an embedding is not finite."""
    return metric.measure(pair) if pair.is_finite else math.nan
