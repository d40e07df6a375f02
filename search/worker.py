"""Inside Ray Train: take a trial from the desk, train it, report, take the next."""

from __future__ import annotations

import time
from typing import Any

import ray
import torch
from ray.train.torch import get_device

from components.base import Base, BaseConfig, load
from search.checkpoint import Checkpoint
from search.data.tokens import TokenisedCorpus
from search.ranks import Ranks
from search.training import EpochReport, TrialError, train
from search.trial import TrialConfig


def work(settings: dict[str, Any]) -> None:
    """The loop of one worker; all workers of a lane go through it in step.

    Only rank 0 talks to the desk, and what it hears is what every rank acts on.

    Args:
        settings: ``desk``, ``corpora`` (references of the two tokenised corpora), ``base`` (its
            settings), ``max_epochs`` and ``threads``.
    """
    desk = settings["desk"]
    ranks = Ranks()
    torch.set_num_threads(settings["threads"])
    try:
        corpora = ray.get(settings["corpora"])
        base = load(BaseConfig(**settings["base"]), get_device())
        while True:
            order = ranks.agree(ray.get(desk.take.remote()) if ranks.rank == 0 else None)
            if order is None:
                return
            _run(desk, ranks, base, corpora, settings["max_epochs"], *order)
    except ray.exceptions.RayActorError:
        return  # the lane and its desk are gone
    except ValueError as error:  # from loading: no trial could train here
        ray.get(desk.give_up.remote(str(error), fatal=True))


def _run(
    desk: Any,
    ranks: Ranks,
    base: Base,
    corpora: list[TokenisedCorpus],
    max_epochs: int,
    sequence: int,
    order: dict[str, Any],
    state: bytes | None,
) -> None:
    """Train one trial until it ends, fails or is replaced."""
    began = time.time()
    replaced = desk.replaced.remote(sequence) if ranks.rank == 0 else None

    def interrupted() -> bool:
        over = ranks.rank == 0 and bool(ray.wait([replaced], timeout=0)[0])
        return ranks.agree(over)

    epoch = 0
    try:
        reports = train(
            TrialConfig.model_validate(order["values"]),
            base,
            *corpora,
            max_epochs=max_epochs,
            ranks=ranks,
            resume=None if state is None else Checkpoint.from_bytes(state),
            interrupted=interrupted,
        )
        for report in reports:
            epoch = report.epoch
            go_on = False
            if ranks.rank == 0:
                result = _plain(report, began, done=epoch == max_epochs)
                checkpoint = report.checkpoint.to_bytes()
                go_on = ray.get(desk.report.remote(sequence, result, checkpoint))
            if not ranks.agree(go_on):
                reports.close()
    except ray.exceptions.RayActorError:
        raise
    except Exception as error:  # a failed trial is data, so that the lane stays warm
        told = isinstance(error, TrialError | ValueError)
        message = str(error) if told else f"{type(error).__name__}: {error}"
        if ranks.size > 1 and not told:
            # The other workers wait in a collective that this one has left: start the group anew.
            ray.get(desk.complain.remote(message))
            raise
        if ranks.rank == 0:
            failed = {"failed": message, "epoch": epoch, "began": began, "ended": time.time()}
            ray.get(desk.report.remote(sequence, failed | {"done": True}))
        if base.device.type == "cuda":
            torch.cuda.empty_cache()  # after running out of memory, fragments would stay


def _plain(report: EpochReport, began: float, done: bool) -> dict[str, Any]:
    return {
        "epoch": report.epoch,
        "loss": report.loss,
        "accuracy": report.scores.accuracy,
        "by_language": report.scores.by_language,
        "seconds": report.seconds,
        "trainable_parameters": report.trainable_parameters,
        "began": began,
        "ended": time.time(),
        "done": done,
    }
