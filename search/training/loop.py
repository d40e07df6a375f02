"""Train one trial. Knows neither Ray nor Optuna."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from components.base import Base
from components.encoder import added_parameters, assemble, trainable_parameters
from search.data.negatives import mine
from search.data.pairs import Pairs
from search.data.teachers import Teachers
from search.data.tokens import Sentences, TokenisedCorpus
from search.evaluation.retrieval import encode, evaluate
from search.events.types import EpochDone
from search.features import Features, plain_feed
from search.runtime.progress import tell
from search.runtime.ranks import Ranks
from search.scoring.settings import Scoring
from search.settings.interface import Mining
from search.settings.trial import Scores, TrialConfig
from search.training.checkpoint import Checkpoint, capture, restore
from search.training.memory import explain_memory_error
from search.training.optimizer import make_optimizer, schedule
from search.training.step import Objective, build_loss


class TrialError(RuntimeError):
    """The trial's own settings led it nowhere; one sentence says how."""


class TrialMemoryError(TrialError):
    """Memory ran out in this process; the other workers of the lane may not know of it."""


@dataclass(frozen=True)
class EpochReport:
    """What a trial says after an epoch.

    Attributes:
        epoch: epochs done, from 1.
        loss: mean over the epoch's steps.
        scores: on the validation sentences.
        seconds: time of training and evaluation since the trial began.
        trainable_parameters: of encoder and loss.
        added_parameters: what the model has beside the base, once its adapter is merged.
        start: what the encoder started from: the sentences' tokens, their states at a layer, the
            last states, or statistics of these.
        checkpoint: from which the trial goes on; as long as it has not gone on.
    """

    epoch: int
    loss: float
    scores: Scores
    seconds: float
    trainable_parameters: int
    added_parameters: int
    start: str
    checkpoint: Checkpoint

    def event(self, trial: int, began: float, repeat: int = 0) -> EpochDone:
        """All of it but the checkpoint, as an event of a run that has just happened.

        Args:
            trial, repeat: number of the trial, and of its run with another seed.
            began: Unix time at which the trial was taken up.
        """
        return EpochDone(
            trial=trial,
            repeat=repeat,
            epoch=self.epoch,
            loss=self.loss,
            accuracy=self.scores.accuracy,
            by_language=self.scores.by_language,
            objective=self.scores.objective,
            metric=self.scores.metric,
            seconds=self.seconds,
            trainable_parameters=self.trainable_parameters,
            added_parameters=self.added_parameters,
            start=self.start,
            began=began,
            ended=time.time(),
        )

    def pieces(self, done: EpochDone, *, last: bool) -> Iterator[memoryview]:
        """A file of the checkpoint, with the report for a resume after that was lost.

        Args:
            done: the event made of this report.
            last: whether the trial has ended, so that only its weights are of use.
        """
        return replace(self.checkpoint, report=done.model_dump_json()).pieces(lasting=last)


def train(
    config: TrialConfig,
    base: Base,
    corpus: TokenisedCorpus,
    validation: TokenisedCorpus,
    *,
    max_epochs: int,
    rung_epochs: int = 1,
    teachers: Teachers | None = None,
    features: Features | None = None,
    ranks: Ranks | None = None,
    scoring: Scoring | None = None,
    resume: Checkpoint | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Generator[EpochReport, None, None]:
    """Train from fresh weights, or go on from a checkpoint, and report after every epoch.

    Whatever ran in this process before leaves no trace: weights, optimizer, data order and random
    state follow from the config alone. The base is given back when the iterator ends or is closed.

    Args:
        rung_epochs: epochs of the first rung, of which the warm-up is a share.
        teachers: other models' embeddings of ``corpus``, where the config names such models.
        features: stored outputs of the base's frozen layers; every trial runs the whole base by
            default.
        ranks: the workers that share the batch; this process alone by default.
        scoring: what is maximised; the mean of accuracy by default.
        interrupted: asked before every step; True ends the iterator. The same on all workers.

    Raises:
        TrialError: the loss or an embedding is no longer finite, or memory ran out.
        ValueError: a setting does not fit the base.
    """
    ranks = ranks or Ranks()
    settings = config.training
    taught = {model.name: teachers.rows(model) for model in config.teachers} if teachers else {}
    torch.manual_seed(settings.seed)  # of the CPU and of every GPU
    encoder = assemble(base, config.adapter, config.pooling, config.head, corpus.families)
    try:
        (feed, begin), (validation_feed, _) = (
            features.feed(encoder, part) if features else (plain_feed(encoder, part), "tokens")
            for part in (corpus, validation)
        )
        objective = Objective(
            encoder,
            build_loss(config, base.width, {n: rows.shape[1] for n, rows in taught.items()}),
            corpus,
            ranks,
            teachers=taught,
            gather=settings.gather,
            chunk_tokens=settings.chunk_tokens,
            feed=feed,
        ).to(base.device)
        parameters = objective.trained
        optimizer = make_optimizer(objective, config.optimizer)
        pairs = Pairs(
            corpus,
            settings.pairs_per_epoch,
            settings.language_temperature,
            settings.seed_of_pairs,
            settings.seed,
        )
        steps = pairs.steps(settings.batch_size)
        done, since, seconds = 0, 0, 0.0
        mining = config.negatives.mining()
        mined: Tensor | None = None
        if resume is not None:
            restore(resume, objective, optimizer)
            done, since, seconds = resume.epoch, resume.since, resume.seconds
            mined = resume.mined
            if not resume.random:
                torch.manual_seed(settings.seed + done)
            resume = None  # its tensors lie in a file, which may be removed
        if ranks.rank:  # the first worker keeps the stream that a single one has; dropout differs
            torch.manual_seed(settings.seed + 2**32 * ranks.rank + done)

        def finder(mining: Mining) -> Callable[[Sentences], Tensor]:
            if mining.encoder is not None:
                assert teachers is not None
                return partial(teachers.sentences, mining.encoder)
            encoder.eval()
            return lambda sentences: encode(encoder, corpus, sentences, ranks, feed)

        def score() -> Scores:
            return evaluate(encoder, validation, ranks, validation_feed, scoring)

        def report(loss: float, scores: Scores) -> EpochReport:
            state = capture(objective, optimizer, done, seconds, mined, since)
            size = trainable_parameters(objective)
            added = added_parameters(encoder, config.adapter)
            return EpochReport(done, loss, scores, seconds, size, added, begin, state)

        if done >= max_epochs:
            # Its lane was lost between the last checkpoint and the word of it: say it again. The
            # loss of that epoch is not known any more.
            yield report(math.nan, score())
        for epoch in range(done, max_epochs):
            start = time.perf_counter()
            here = f"epoch {epoch + 1}/{max_epochs}"
            if mining is not None and (mined is None or epoch % mining.every == 0):
                tell(f"{here}: mining negatives")
                turn = epoch - epoch % mining.every + mining.every
                ahead = range(epoch, min(turn, max_epochs))
                rows = mine(mining, pairs, corpus, ahead, finder(mining), seed=settings.seed)
                mined = torch.from_numpy(rows)
            objective.train()
            total = torch.zeros((), device=base.device)
            rows_LRK = None if mined is None else mined.numpy()
            batches = pairs.epoch(
                epoch, settings.batch_size, rows_LRK, one_language=settings.one_language
            )
            for index, batch in enumerate(batches):
                if interrupted():
                    return
                tell(here, index + 1, steps, "step")
                rate = schedule(
                    config.optimizer,
                    (epoch - since) * steps + index,
                    (max_epochs - since) * steps,
                    rung_epochs * steps,
                )
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["share"]
                optimizer.zero_grad(set_to_none=True)
                with base.recomputed() if settings.activation_checkpointing else nullcontext():
                    total += objective.backward(batch)
                if parameters:
                    nn.utils.clip_grad_norm_(parameters, config.optimizer.clip_norm)
                    optimizer.step()
            means = ranks.collect(total.item() / steps)  # they differ where nothing is gathered
            mean_loss = sum(means) / len(means)
            if not math.isfinite(mean_loss):
                raise TrialError(f"the loss is {mean_loss} in epoch {epoch + 1}")
            tell(f"{here}: scoring")
            scores = score()
            if not (math.isfinite(scores.accuracy) and math.isfinite(scores.value)):
                raise TrialError(f"an embedding is not finite after epoch {epoch + 1}")
            seconds += time.perf_counter() - start
            done = epoch + 1
            yield report(mean_loss, scores)
    except (RuntimeError, MemoryError) as error:
        if reason := explain_memory_error(error, settings):
            raise TrialMemoryError(reason) from error
        raise
    finally:
        encoder.close()
