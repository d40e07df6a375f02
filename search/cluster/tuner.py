"""Run a search's trials: lanes, sampler and scheduler, put together in Ray Tune."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import ray
from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.cluster.callbacks import Recorder, StopSwitch
from search.cluster.connection import machines_there
from search.cluster.credentials import keep_out_of_runtime_env
from search.cluster.gauges import Gauges
from search.cluster.lane import Lane, LaneSetup, lane_resources
from search.cluster.mailboxes import MailboxActor
from search.cluster.resuming import past_trials, settle, specs
from search.cluster.scheduling import make_scheduler
from search.cluster.searcher import StudySearcher
from search.cluster.size import LanePlan
from search.cluster.transfer import CheckpointPlace
from search.cluster.watch import ClusterWatch, Room
from search.events.outcomes import Outcomes
from search.finals.plan import next_tasks
from search.report.terminal import View
from search.runs.folder import Run
from search.runs.lock import read_holder
from search.runs.prepare import Prepared
from search.runs.results import Results
from search.runs.retention import Retention, checkpoints_of
from search.runs.stopping import StopRequest
from search.runtime.progress import read_progress
from search.sampling.study import SearchStudy
from search.settings.problems import InputError


def run_trials(
    prepared: Prepared,
    plan: LanePlan,
    *,
    name: str,
    folder: Path,
    scratch: Path,
    run: Run,
    view: View,
    request: StopRequest,
    own: bool,
    growing: bool,
) -> None:
    """Run all trials of a search on the cluster this process is connected to.

    Args:
        scratch: folder for files that nobody needs after the search.
        own: whether the cluster is this machine alone; lanes follow the machines of any other.
        growing: whether it has been asked for machines.

    Where the search is asked to end early, what was reported until then is in the journal.

    Raises:
        InputError: no lane could train any trial, for want of the model or of resources.
        OSError: a checkpoint could not be written.
    """
    keep_out_of_runtime_env()
    config, split = prepared.config, prepared.split
    settings = config.search
    stop = StopSwitch(request)
    scheduler = make_scheduler(settings.scheduler)
    events = settle(run.past, scheduler, run.journal, settings.scheduler.max_epochs)
    outcomes = Outcomes(events)
    view.resume(outcomes)
    checkpoints = checkpoints_of(folder, settings.checkpoints)
    retention = Retention(checkpoints, settings.keep)
    retention.apply(outcomes)
    room = Room(plan, machines_there, follows=not own, most=settings.concurrency)
    study = SearchStudy(
        prepared.space,
        settings.sampler,
        log=folder / "study.log",
        name=name,
        refuse=prepared.refuse,
        past=past_trials(outcomes),
        taken=outcomes.by_trial,
    )
    reference = outcomes.reference()
    searcher = StudySearcher(
        study,
        max_epochs=settings.scheduler.max_epochs,
        trials=max(0, prepared.trials - outcomes.drawn),
        unfinished=specs(o for o in outcomes.by_trial.values() if o.state is None),
        constraints=settings.constraints,
        reference=None if reference is None else reference.by_language,
        finals=lambda: next_tasks(outcomes, settings),
        room=lambda: room.lanes,
    )
    runs = settings.finals.count * settings.finals.seeds
    scheduler.wanted = lambda: min(runs, room.lanes) if searcher.awaits_finals else 0
    recorder = Recorder(
        run.journal,
        view,
        settings.scheduler.max_epochs,
        stop,
        results=Results(folder),
        retention=retention,
        searcher=searcher,
        outcomes=outcomes,
    )
    with request.polled():
        view.follow(partial(read_progress, scratch))
        # On the machine of the run folder, so that checkpoints reach it from any other.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        mailboxes = MailboxActor.options(scheduling_strategy=here).remote(
            checkpoints.location, str(scratch)
        )
        watch = ClusterWatch(
            plan,
            room,
            recorder,
            view,
            losses=lambda: list(ray.get(mailboxes.losses.remote())),
            gauges=Gauges(name),
            wanted=plan.lanes * plan.workers if growing else None,
        )
        lane = LaneSetup(
            name=name,
            mailboxes=mailboxes,
            scratch=str(scratch),
            plan=plan,
            work={
                "checkpoints": CheckpointPlace(
                    checkpoints.location, str(folder), read_holder(folder)
                ),
                "corpora": {
                    part: ray.put(sentences)
                    for part, sentences in {
                        "train": split.train,
                        "validation": split.validation,
                        "test": split.test,
                        "text": split.train_text if prepared.others else None,
                    }.items()
                    if sentences is not None
                },
                "session": prepared.session.plain(),
                "threads": plan.cpus,
                "folder": str(Path.cwd()),
            },
        )
        trainable = tune.with_resources(tune.with_parameters(Lane, lane=lane), lane_resources(plan))
        tune.Tuner(
            trainable,
            tune_config=TuneConfig(
                num_samples=-1,  # the searcher counts, since a lost trial comes again
                search_alg=searcher,
                scheduler=scheduler,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=RunConfig(
                name=name,
                storage_path=str(scratch),
                callbacks=[recorder, watch],
                stop=stop,
                # The mailbox keeps the trials' checkpoints; Tune would ask the lane for one more.
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
                failure_config=FailureConfig(max_failures=0),  # the searcher gives it again
                verbose=0,
            ),
        ).fit()
    if recorder.fatal:
        raise InputError(recorder.fatal)
    if recorder.storage_fault:
        raise OSError(recorder.storage_fault)
