"""One step: a batch in, gradients out; over several workers, and in chunks where asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from components.embedded import Embedded
from components.encoder import Encoder
from components.interface import Loss
from components.matryoshka import Matryoshka
from search.data.pairs import Batch
from search.data.tokens import Sentences, TokenisedCorpus
from search.features import Feed, plain_feed
from search.runtime.randomness import random_state, set_random_state
from search.runtime.ranks import Ranks
from search.settings.trial import TrialConfig


class Objective(nn.Module):
    """Encoder and loss.

    Args:
        teachers: name of a teacher -> its embeddings (R, W) of the corpus' rows, on the CPU.
        gather: compare each pair with those of all workers, not only with this worker's own.
        chunk_tokens: the most tokens that the encoder keeps for the backward pass at a time; None
            for all of a batch.
        feed: what the encoder starts from; the sentences' tokens, by default.
    """

    def __init__(
        self,
        encoder: Encoder,
        loss: Loss,
        corpus: TokenisedCorpus,
        ranks: Ranks,
        *,
        teachers: Mapping[str, Tensor],
        gather: bool = True,
        chunk_tokens: int | None = None,
        feed: Feed | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.loss = loss
        self._corpus = corpus
        self._ranks = ranks
        self._teachers = teachers
        self._gather = gather
        self._chunk_tokens = chunk_tokens
        self._feed = feed or plain_feed(encoder, corpus)

    @cached_property  # the same for a whole trial, and a walk through all modules
    def trained(self) -> list[nn.Parameter]:
        """Every parameter that trains."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def backward(self, batch: Batch) -> Tensor:
        """Add the gradients of a batch, the same on all workers, to those that are there.

        Returns:
            The loss, a scalar without a graph.
        """
        # Where there are fewer pairs than a batch, the workers may not divide them.
        batch = batch[: len(batch) // self._ranks.size * self._ranks.size]
        part = batch[self._ranks.part(len(batch))]
        sentences = Sentences.join([part.anchor, part.positive, part.negative])
        chunks = list(self._cut(sentences))
        # What keeps nothing for the backward pass needs no chunks.
        trains = any(parameter.requires_grad for parameter in self.encoder.parameters())
        scalar = (
            self._in_chunks([sentences[chunk] for chunk in chunks], batch, part)
            if trains and len(chunks) > 1
            else self._at_once(sentences, batch, part)
        )
        self._ranks.average(self.trained)
        return scalar

    def _at_once(self, sentences: Sentences, batch: Batch, part: Batch) -> Tensor:
        scalar = self._compare(*self._embed(sentences), batch, part)
        if scalar.requires_grad:
            torch.autograd.backward(scalar)
        return scalar.detach()

    def _in_chunks(self, chunks: Sequence[Sentences], batch: Batch, part: Batch) -> Tensor:
        """The same gradients with the memory of one chunk.

        The embeddings are computed without a graph, the loss gives each its gradient, and a second
        pass through the encoder, chunk by chunk, carries that on to the parameters.

        Source: Gao et al., 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited
        Setup (GradCache), section 3.
        """
        states = []
        cached = []
        with torch.no_grad():
            for chunk in chunks:
                states.append(random_state())  # dropout must drop the same in both passes
                cached.append(self._embed(chunk))
        emb_BE, routing_BK = (
            torch.cat(side).requires_grad_() for side in zip(*cached, strict=True)
        )
        scalar = self._compare(emb_BE, routing_BK, batch, part)
        torch.autograd.backward(scalar)
        sizes = [len(chunk) for chunk in chunks]
        grads = [
            torch.zeros_like(side) if side.grad is None else side.grad
            for side in (emb_BE, routing_BK)
        ]
        by_chunk = zip(*(torch.split(side, sizes) for side in grads), strict=True)
        for chunk, state, grad in zip(chunks, states, by_chunk, strict=True):
            set_random_state(state)
            outs = zip(self._embed(chunk), grad, strict=True)
            reached = [(out, g) for out, g in outs if out.requires_grad]
            if reached:
                torch.autograd.backward([o for o, _ in reached], [g for _, g in reached])
        return scalar.detach()

    def _embed(self, sentences: Sentences) -> tuple[Tensor, Tensor]:
        family_B = self._corpus.family(sentences, self.encoder.base.device)
        return self.encoder.embed(self._feed(sentences), family_B)

    def _compare(self, emb_XE: Tensor, routing_XK: Tensor, batch: Batch, part: Batch) -> Tensor:
        """The loss of this worker's anchors, positives and negatives, in this order."""
        sizes = [len(part), len(part), len(part.negative)]
        rows = torch.cat([emb_XE, routing_XK], dim=1).split_with_sizes(sizes)
        everything, own = part, slice(None)
        if self._gather:
            rows = tuple(self._ranks.gather(side) if len(side) else side for side in rows)
            everything, own = batch, self._ranks.part(len(batch))
        width = emb_XE.shape[1]
        anchor_BE, positive_BE, negative_NE = (side[:, :width] for side in rows)
        device = emb_XE.device
        row_B = torch.from_numpy(everything.row)
        is_same = self._corpus.is_same(
            Sentences.join([part.anchor, part.positive]),
            Sentences.join([everything.anchor, everything.positive, everything.negative]),
        )
        # The mean of the workers' losses is that of a single worker with the whole batch.
        seen = Embedded(
            anchor_BE,
            positive_BE,
            torch.from_numpy(is_same).to(device, non_blocking=True),
            negative_NE if len(part.negative) else None,
            {
                name: rows_RW[row_B].to(device, non_blocking=True)
                for name, rows_RW in self._teachers.items()
            },
            own,
        )
        scalar: Tensor = self.loss(seen)
        return scalar + self.encoder.head.penalty(torch.cat([side[:, width:] for side in rows]))

    def _cut(self, sentences: Sentences) -> Iterator[slice]:
        """Cut sentences into runs of at most so many tokens, but of one sentence at least."""
        lengths = self._corpus.lengths[sentences.language, sentences.row]
        if self._chunk_tokens is None:
            yield slice(0, len(sentences))
            return
        start, filled = 0, 0
        for index, length in enumerate(np.asarray(lengths).tolist()):
            if index > start and filled + length > self._chunk_tokens:
                yield slice(start, index)
                start, filled = index, 0
            filled += length
        yield slice(start, len(sentences))


def build_loss(config: TrialConfig, width: int, teachers: Mapping[str, int]) -> Loss:
    """The loss of a trial.

    Args:
        width: dimensions of the base.
        teachers: dimensions of each teacher's embeddings.

    Raises:
        ValueError: a setting does not fit the width of the embedding.
    """
    out = config.head.out(width)
    loss = config.loss.build(out, teachers)
    widths = config.training.matryoshka
    return loss if widths is None else Matryoshka(loss, out, widths)
