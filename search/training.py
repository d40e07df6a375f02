"""Train one trial. Knows neither Ray nor Optuna."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from components.base import Base
from components.encoder import Encoder, assemble, trainable_parameters
from components.interface import Loss
from search.checkpoint import Checkpoint, capture, restore
from search.data.pairs import Batch, Pairs
from search.data.tokens import Sentences, TokenisedCorpus
from search.evaluation.retrieval import evaluate, families
from search.ranks import Ranks
from search.trial import OptimizerConfig, Scores, TrialConfig


class TrialError(RuntimeError):
    """The trial's own settings led it nowhere; one sentence says how."""


@dataclass(frozen=True)
class EpochReport:
    """What a trial says after an epoch.

    Attributes:
        epoch: epochs done, from 1.
        loss: mean over the epoch's steps.
        scores: on the validation sentences.
        seconds: time of training and evaluation since the trial began.
        trainable_parameters: of encoder and loss.
        checkpoint: from which the trial goes on.
    """

    epoch: int
    loss: float
    scores: Scores
    seconds: float
    trainable_parameters: int
    checkpoint: Checkpoint


class Objective(nn.Module):
    """Encoder and loss as one module, so that one forward call is one step (as DDP needs it)."""

    def __init__(self, encoder: Encoder, loss: Loss, corpus: TokenisedCorpus, ranks: Ranks) -> None:
        super().__init__()
        self.encoder = encoder
        self.loss = loss
        self._corpus = corpus
        self._ranks = ranks
        self._family_L = families(corpus.languages)

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch over all workers; each encodes its own part."""
        # Where there are fewer pairs than a batch, the workers may not divide them.
        batch = batch[: len(batch) // self._ranks.size * self._ranks.size]
        part = batch[self._ranks.part(len(batch))]
        both = Sentences.join([part.anchor, part.positive])
        device = self.encoder.base.device
        family_B = self._family_L[torch.from_numpy(both.language)].to(device)
        emb_BE = self.encoder(self._corpus.tokens(both, device), family_B)
        anchor_BE, positive_BE = (self._ranks.gather(side) for side in emb_BE.chunk(2))
        meaning_B = torch.from_numpy(batch.meaning).to(device)
        scalar: Tensor = self.loss(anchor_BE, positive_BE, meaning_B)
        return scalar


def train(
    config: TrialConfig,
    base: Base,
    corpus: TokenisedCorpus,
    validation: TokenisedCorpus,
    *,
    max_epochs: int,
    ranks: Ranks | None = None,
    resume: Checkpoint | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Generator[EpochReport, None, None]:
    """Train from fresh weights, or go on from a checkpoint, and report after every epoch.

    Whatever ran in this process before leaves no trace: weights, optimizer, data order and random
    state follow from the config alone. The base is given back when the iterator ends or is closed.

    Args:
        ranks: the workers that share the batch; this process alone by default.
        interrupted: asked before every step; True ends the iterator. The same on all workers.

    Raises:
        TrialError: the loss or an embedding is no longer finite.
        ValueError: a setting does not fit the base.
    """
    ranks = ranks or Ranks()
    settings = config.training
    torch.manual_seed(settings.seed)  # of the CPU and of every GPU
    encoder = assemble(base, config.adapter, config.pooling, config.head)
    try:
        objective = Objective(encoder, config.loss.build().to(base.device), corpus, ranks)
        parameters = [p for p in objective.parameters() if p.requires_grad]
        step_module: nn.Module = objective
        if ranks.size > 1 and parameters:
            # No broadcast at the start: the seed has given every worker the same weights.
            step_module = DistributedDataParallel(
                objective, broadcast_buffers=False, init_sync=False
            )
        optimizer = torch.optim.AdamW(
            parameters or [nn.Parameter(torch.zeros(()))],
            lr=config.optimizer.lr,
            weight_decay=config.optimizer.weight_decay,
        )
        pairs = Pairs(
            corpus, settings.pairs_per_epoch, settings.language_temperature, settings.seed
        )
        steps = pairs.steps(settings.batch_size)
        done, seconds = 0, 0.0
        if resume is not None:
            restore(resume, objective, optimizer)
            done, seconds = resume.epoch, resume.seconds
        if ranks.rank:  # the first worker keeps the stream that a single one has; dropout differs
            torch.manual_seed(settings.seed + 2**32 * ranks.rank + done)

        def report(loss: float, scores: Scores) -> EpochReport:
            state = capture(objective, optimizer, done, seconds)
            size = trainable_parameters(objective)
            return EpochReport(done, loss, scores, seconds, size, state)

        if done >= max_epochs:
            # Its lane was lost between the last checkpoint and the word of it: say it again. The
            # loss of that epoch is not known any more.
            yield report(math.nan, evaluate(encoder, validation, ranks))
        for epoch in range(done, max_epochs):
            start = time.perf_counter()
            objective.train()
            total = torch.zeros((), device=base.device)
            for index, batch in enumerate(pairs.epoch(epoch, settings.batch_size)):
                if interrupted():
                    return
                rate = schedule(config.optimizer, epoch * steps + index, max_epochs * steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                loss = step_module(batch)
                if parameters:
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    nn.utils.clip_grad_norm_(parameters, config.optimizer.clip_norm)
                    optimizer.step()
                total += loss.detach()
            mean_loss = total.item() / steps
            if not math.isfinite(mean_loss):
                raise TrialError(f"the loss is {mean_loss} in epoch {epoch + 1}")
            scores = evaluate(encoder, validation, ranks)
            if not math.isfinite(scores.accuracy):
                raise TrialError(f"an embedding is not finite after epoch {epoch + 1}")
            seconds += time.perf_counter() - start
            done = epoch + 1
            yield report(mean_loss, scores)
    finally:
        encoder.close()


def schedule(config: OptimizerConfig, step: int, total: int) -> float:
    """Learning rate of a step: a linear rise, then constant, linear or cosine fall to zero.

    Args:
        step: from 0.
        total: steps of all epochs.
    """
    warmup = config.warmup * total
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    left = (total - step) / max(1.0, total - warmup)
    if config.schedule == "linear":
        return config.lr * left
    if config.schedule == "cosine":
        return config.lr * (1 - math.cos(math.pi * left)) / 2
    return config.lr
