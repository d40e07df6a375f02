"""What runs inside Ray Train: take a trial from the mailbox, train it, report, take the next."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator
from dataclasses import asdict
from functools import partial
from typing import Any

import ray
import torch
from ray.train.torch import get_device

from components.base import BaseConfig, load
from search.data.teachers import Teachers
from search.evaluation.untouched import score_untouched
from search.events.replies import EpochReply, TrialFailed, TrialSpec
from search.events.types import UntouchedScored
from search.features import FeaturePlan, open_features, performance_notes
from search.runtime.ranks import Ranks
from search.settings.sections import CacheSettings
from search.settings.trial import TrainingConfig, TrialConfig
from search.training.checkpoint import Checkpoint
from search.training.loop import EpochReport, TrialError, train


def work(settings: dict[str, Any]) -> None:
    """The loop of one worker; all workers of a lane go through it in step.

    Only rank 0 talks to the mailbox, and what it hears is what every rank acts on.

    Args:
        settings: ``mailbox``, ``corpora`` (references of the two tokenised corpora and, where a
            trial may ask for other models, of the text of the first), ``base`` (its settings),
            ``pivot``, ``max_epochs``, ``rung_epochs`` (of the first rung), ``threads`` and
            ``folder``, which relative paths start from.
    """
    mailbox = settings["mailbox"]
    ranks = Ranks()
    torch.set_num_threads(settings["threads"])
    with contextlib.suppress(OSError):  # where models were named from; another node may lack it
        os.chdir(settings["folder"])
    try:
        train_corpus, validation, *texts = ray.get(settings["corpora"])
        config = BaseConfig(**settings["base"])
        base = load(config, get_device())
        cache = CacheSettings(**settings["cache"])
        plan = FeaturePlan(**settings["features"])
        features = open_features(
            base,
            config,
            cache,
            plan,
            TrainingConfig(**settings["training"]),
            settings["max_epochs"],
        )
        notes = performance_notes(base, features, cache, plan)
        run = partial(
            train,
            features=features,
            base=base,
            corpus=train_corpus,
            validation=validation,
            max_epochs=settings["max_epochs"],
            rung_epochs=settings["rung_epochs"],
            teachers=Teachers(texts[0], settings["pivot"], base.device) if texts else None,
            ranks=ranks,
        )
        while True:
            order = ranks.agree(ray.get(mailbox.take.remote()) if ranks.rank == 0 else None)
            if order is None:
                return
            untouched = None
            if order[1].trial == 0:
                # Beside the reference, whose stored statistics make it nearly free.
                scores = score_untouched(base, validation, features, ranks)
                untouched = UntouchedScored(**asdict(scores))
            reply = partial(EpochReply, notes=tuple(notes), untouched=untouched)
            _run(mailbox, ranks, run, settings["max_epochs"], reply, *order)
    except ray.exceptions.RayActorError:
        return  # the lane and its mailbox are gone
    except ValueError as error:  # from loading: no trial could train here
        ray.get(mailbox.abort.remote(str(error), fatal=True))


def _run(
    mailbox: Any,
    ranks: Ranks,
    run: Callable[..., Generator[EpochReport, None, None]],
    max_epochs: int,
    reply: Callable[..., EpochReply],
    sequence: int,
    order: TrialSpec,
    state: bytes | None,
) -> None:
    """Train one trial until it ends, fails or is replaced.

    Args:
        reply: makes a reply of an epoch's figures; what is the same for all epochs is in it.
    """
    began = time.time()
    replaced = mailbox.replaced.remote(sequence) if ranks.rank == 0 else None

    def interrupted() -> bool:
        over = ranks.rank == 0 and bool(ray.wait([replaced], timeout=0)[0])
        return ranks.agree(over)

    epoch = 0
    try:
        reports = run(
            TrialConfig.model_validate(order.values),
            resume=None if state is None else Checkpoint.from_bytes(state),
            interrupted=interrupted,
        )
        for report in reports:
            epoch = report.epoch
            go_on = False
            if ranks.rank == 0:
                done = report.event(order.trial, began)
                result = reply(done=done, last=epoch == max_epochs)
                checkpoint = report.checkpoint.to_bytes()
                go_on = ray.get(mailbox.report.remote(sequence, result, checkpoint))
            if not ranks.agree(go_on):
                reports.close()
    except ray.exceptions.RayActorError:
        raise
    except Exception as error:  # a failed trial is data, so that the lane stays warm
        told = isinstance(error, TrialError | ValueError)
        message = str(error) if told else f"{type(error).__name__}: {error}"
        if ranks.size > 1 and not told:
            # The other workers wait in a collective that this one has left: start the group anew.
            ray.get(mailbox.record_worker_error.remote(message))
            raise
        if ranks.rank == 0:
            ray.get(mailbox.report.remote(sequence, TrialFailed(message=message, epoch=epoch)))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # after running out of memory, fragments would stay
