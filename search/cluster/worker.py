"""What runs inside Ray Train: take a trial from the mailbox, train it, report, take the next."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import ray
import torch
from ray.train import get_context
from ray.train.torch import get_device

from search.cluster.mailbox import Mailbox
from search.cluster.mailboxes import LaneMailbox
from search.cluster.transfer import Reached, reach
from search.events.replies import EpochReply, ScoredReply, StorageLost, TrialFailed, TrialSpec
from search.events.types import EpochDone, ModelScored
from search.runs.console import explain_os_error
from search.runtime.progress import Progress, shown_by
from search.settings.trial import TrialConfig
from search.training.averaging import average
from search.training.checkpoint import Checkpoint
from search.training.loop import EpochReport, TrialError, TrialMemoryError
from search.training.session import Session, SessionSettings

if TYPE_CHECKING:
    from search.cluster.lane import WorkerSettings

# Workers that wait for a trial meet at least so often, or their collective would time out.
MEET_EVERY_S = 60.0
THROUGH_MAILBOX = (
    "checkpoints go through the node of the run folder, as a worker cannot write there; for large "
    "ones, search.checkpoints may name a bucket that all nodes reach"
)


def work(settings: WorkerSettings) -> None:
    """The loop of one worker; all workers of a lane go through it in step.

    Only rank 0 talks to the mailbox, and what it hears is what every rank acts on.
    """
    mailbox = settings["mailbox"]
    if torch.cuda.is_available():
        torch.cuda.set_device(get_device())
    torch.set_num_threads(settings["threads"])
    with contextlib.suppress(OSError):  # where models were named from; another node may lack it
        os.chdir(settings["folder"])
    try:
        if not mailbox.ask(Mailbox.start, get_context().get_world_rank()):
            return
        session = _open_session(settings)
        place = settings["checkpoints"]
        checkpoints = reach(place, mailbox)
        notes = (*session.notes, *([] if place.is_shared() else [THROUGH_MAILBOX]))
        ranks = session.ranks
        while True:
            first = mailbox.ask(Mailbox.take, MEET_EVERY_S) if ranks.rank == 0 else None
            order = ranks.agree(first)
            assert order is not None, "rank 0 has one"
            if order == "leave":
                return
            if order == "wait":
                continue
            with shown_by(partial(_show, mailbox, ranks.rank, order[0])):
                if order[1].task == "score":
                    _score(mailbox, checkpoints, session, *order)
                    continue
                # Beside the reference, whose stored statistics make it nearly free.
                untouched = session.score_untouched() if order[1].trial == 0 else None
                reply = partial(EpochReply, notes=notes, untouched=untouched)
                _run(mailbox, checkpoints, session, reply, *order)
    except ray.exceptions.RayActorError:
        return  # the lane and its mailbox are gone
    except ValueError as error:  # from loading: no trial could train here
        mailbox.ask(Mailbox.abort, str(error), True)


def _show(mailbox: LaneMailbox, rank: int, sequence: int, progress: Progress) -> None:
    """Tell the mailbox how far the trial has come; nobody waits for that."""
    if rank == 0:
        mailbox.post(Mailbox.show, sequence, progress)


def _open_session(settings: WorkerSettings) -> Session:
    """Load what trials share; an error other than of the input is recorded and raised."""
    try:
        corpora = settings["corpora"]
        parts = dict(zip(corpora, ray.get(list(corpora.values())), strict=True))
        common = SessionSettings.of(settings["session"])
        return Session(
            common,
            parts["train"],
            parts["validation"],
            parts.get("text"),
            get_device(),
            test=parts.get("test"),
        )
    except (ValueError, ray.exceptions.RayActorError):
        raise
    except Exception as error:  # the mailbox counts how often Ray Train may try again
        settings["mailbox"].ask(Mailbox.record_worker_error, _describe(error))
        raise


def _describe(error: Exception) -> str:
    """An unexpected error in one line; of one raised in another process, the error there."""
    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
    return " ".join(f"{type(cause).__name__}: {cause}".split())


def _score(
    mailbox: LaneMailbox, checkpoints: Reached, session: Session, sequence: int, order: TrialSpec
) -> None:
    """Score a model for the final comparison."""
    reply: ScoredReply | TrialFailed
    try:
        if order.trial is None:
            scores = session.score(None, None)
        else:
            config = TrialConfig.model_validate(order.values)
            runs = order.averaged or (order.repeat,)
            states = [_read(checkpoints, order.trial, repeat) for repeat in runs]
            scores = session.score(*average(config, states))
        validation, test = scores
        scored = ModelScored(
            trial=order.trial, repeat=order.repeat, averaged=order.averaged,
            validation=validation, test=test,
        )  # fmt: skip
        reply = ScoredReply(scored=scored)
    except ray.exceptions.RayActorError:
        raise
    except OSError as error:  # perhaps on this worker only, and the others wait for it
        mailbox.ask(Mailbox.record_worker_error, _describe(error))
        raise
    except ValueError as error:  # the same on every worker
        reply = TrialFailed(message=str(error))
    if session.ranks.rank == 0:
        mailbox.ask(Mailbox.report, sequence, reply)


def _read(checkpoints: Reached, trial: int, repeat: int) -> Checkpoint:
    with checkpoints.opened(trial, repeat) as file:
        run = f"the run with seed {repeat}" if repeat else "it"
        if file is None:
            raise ValueError(f"{run} has no checkpoint")
        try:
            return Checkpoint.read(file)
        except ValueError as error:
            raise ValueError(f"of {run}, {error}") from error


def _find_start(checkpoints: Reached, order: TrialSpec) -> Checkpoint | None:
    """What a trial goes on from: its checkpoint or, where it has none yet, its parent's weights.

    Raises:
        ValueError: that is damaged, or the parent has none.
    """
    assert order.trial is not None, "only scoring is without a trial"
    with checkpoints.opened(order.trial, order.repeat) as file:
        if file is not None:
            return Checkpoint.read(file)
    if order.parent is None:
        return None
    with checkpoints.opened(order.parent, order.repeat) as file:
        if file is None:
            raise ValueError(f"trial {order.parent}, from which it goes on, has no checkpoint")
        return Checkpoint.read(file).begin_anew()


def _storage_lost(trial: int, error: OSError) -> StorageLost:
    """Say that a checkpoint cannot be written; the error may be one of the mailbox."""
    cause = getattr(error, "cause", error)
    return StorageLost(
        message=f"the checkpoint of trial {trial} cannot be written: {explain_os_error(cause)}"
    )


def _run(
    mailbox: LaneMailbox,
    checkpoints: Reached,
    session: Session,
    reply: Callable[..., EpochReply],
    sequence: int,
    order: TrialSpec,
) -> None:
    """Train one trial until it ends, fails or is replaced.

    Args:
        reply: makes a reply of an epoch's figures; what is the same for all epochs is in it.
    """
    began = time.time()
    ranks = session.ranks
    replaced = mailbox.post(Mailbox.replaced, sequence) if ranks.rank == 0 else None

    def interrupted() -> bool:
        over = ranks.rank == 0 and bool(ray.wait([replaced], timeout=0)[0])
        return ranks.flag(over)

    epoch, failed = 0, False
    assert order.trial is not None, "only scoring is without a trial"
    event = partial(EpochReport.event, trial=order.trial, began=began, repeat=order.repeat)
    try:
        most_epochs = order.epochs or session.settings.max_epochs
        resume = _find_start(checkpoints, order)
        if resume is not None and resume.report:
            # Its lane, or the whole search, may have been lost before this was heard. What was
            # heard already is passed over.
            done = EpochDone.model_validate_json(resume.report)
            epoch = done.epoch
            go_on = False
            if ranks.rank == 0:
                result = reply(done=done, last=epoch == most_epochs)
                go_on = mailbox.ask(Mailbox.report, sequence, result)
            if not ranks.flag(go_on):
                return
        reports = session.train(
            TrialConfig.model_validate(order.values),
            max_epochs=most_epochs,
            resume=resume,
            interrupted=interrupted,
        )
        for report in reports:
            epoch = report.epoch
            go_on = False
            if interrupted():  # what another worker may go on with is not to be written over
                return
            if ranks.rank == 0:
                done = event(report)
                last = epoch == most_epochs
                told: EpochReply | StorageLost = reply(done=done, last=last)
                try:
                    pieces = report.pieces(done, last=last)
                    checkpoints.write(order.trial, epoch, pieces, order.repeat)
                except OSError as error:
                    told = _storage_lost(order.trial, error)
                go_on = mailbox.ask(Mailbox.report, sequence, told)
            if not ranks.flag(go_on):
                reports.close()
    except ray.exceptions.RayActorError:
        raise
    except Exception as error:  # a failed trial is data, so that the lane stays warm
        explained = isinstance(error, TrialError | ValueError)
        message = str(error) if explained else _describe(error)
        everywhere = explained and not isinstance(error, TrialMemoryError)
        if ranks.size > 1 and not everywhere:
            # The other workers wait in a collective that this one has left: start the group anew.
            mailbox.ask(Mailbox.record_worker_error, message)
            raise
        if ranks.rank == 0:
            mailbox.ask(Mailbox.report, sequence, TrialFailed(message=message, epoch=epoch))
        failed = True
    if failed and torch.cuda.is_available():
        # After running out of memory, fragments would stay. Not above: while it is handled, the
        # error keeps the tensors of the step that failed.
        gc.collect()
        torch.cuda.empty_cache()
