"""Run a search on a Ray cluster: lanes, sampler, scheduler, journal and view, put together."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, Stopper, TuneConfig
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from search.data.tokens import TokenisedCorpus
from search.journal import Event, Journal, Outcomes, state_of
from search.lane import LANE_RESOURCES, Lane, LaneSetup
from search.problems import InputError
from search.report.terminal import View
from search.resources import LanePlan
from search.sampler import StudySearcher
from search.settings import RunConfig as SearchConfig
from search.settings import SchedulerSettings
from search.space import Space

# Read by Ray where it is imported or started, in this process and in those it starts.
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",
    "TOKENIZERS_PARALLELISM": "false",
}
REPORTED = ("epoch", "loss", "accuracy", "by_language", "seconds", "trainable_parameters", "lane",
            "began", "ended")  # fmt: skip
LANE_RESTARTS = 2
# A lane waits a minute for its workers to be placed; a cluster that has to grow gets longer.
START_ATTEMPTS_FIXED = 2
START_ATTEMPTS_GROWING = 30


class InterruptedSearchError(Exception):
    """The user, or the system, asked the search to end."""


@contextmanager
def cluster(address: str | None, cpus: int, gpus: int) -> Iterator[str | None]:
    """Join the cluster at an address, or start one on this machine; leave it or end it afterwards.

    Args:
        cpus, gpus: what one started here may use.

    Yields:
        Where its dashboard is, and how to get in.

    Raises:
        InputError: there is no cluster at the address, or it does not let us in.
    """
    os.environ.update(QUIET)
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            # Every process must be told which instance it belongs to: where a second one runs on
            # this host, the actor that frees a dead lane's resources would find neither.
            port = _free_port()
            os.environ["RAY_GCS_SERVER_PORT"] = str(port)
            own = f"{ray.util.get_node_ip_address()}:{port}"
            options |= {"num_cpus": cpus, "num_gpus": gpus, "include_dashboard": True}
        else:
            ray.init(address, **options)
            own = ray.get_runtime_context().gcs_address
            ray.shutdown()
        environment = {"env_vars": QUIET | {"RAY_ADDRESS": own}}
        context = ray.init(address or "local", runtime_env=environment, **options)
    except Exception as error:  # ConnectionError, but also gRPC's and the token's own
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        where = "a Ray instance cannot be started here" if address is None else \
            f"no Ray cluster can be joined at {address!r}"  # fmt: skip
        hint = ""
        if "token" in str(error).lower():
            hint = "; RAY_AUTH_MODE=token must be set in the environment of this command"
        raise InputError(f"{where}: {reason.strip()}{hint}") from error
    try:
        url = context.dashboard_url
        mode = os.environ.get("RAY_AUTH_MODE", "token" if address is None else "disabled")
        hint = " (`ray get-auth-token` prints its token)" if mode == "token" else ""
        yield f"http://{url}{hint}" if url else None
    finally:
        ray.shutdown()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def run_trials(
    space: Space,
    config: SearchConfig,
    plan: LanePlan,
    *,
    name: str,
    folder: Path,
    corpora: Sequence[TokenisedCorpus],
    journal: Journal,
    view: View,
    growing: bool,
) -> Outcomes:
    """Run all trials of a search on the cluster this process is connected to.

    Raises:
        InputError: no lane could train any trial, for want of the model or of resources.
        InterruptedSearchError: it was asked to end; what was reported until then is in the journal.
    """
    settings = config.search
    recorder = Recorder(journal, view, settings.scheduler.max_epochs)
    stop = StopSwitch()
    searcher = StudySearcher(
        space,
        settings.sampler,
        max_epochs=settings.scheduler.max_epochs,
        metric=settings.metric,
        log=folder / "study.log",
        name=name,
    )
    with tempfile.TemporaryDirectory(prefix="isogloss-") as scratch, stop.on_signals():
        lane = LaneSetup(
            name=name,
            run_folder=str(folder),
            run_node=ray.get_runtime_context().get_node_id(),
            scratch=scratch,
            workers=plan.workers,
            cpus=plan.cpus,
            gpus=plan.gpus,
            start_attempts=START_ATTEMPTS_GROWING if growing else START_ATTEMPTS_FIXED,
            work={
                "base": config.base.model_dump(),
                "max_epochs": settings.scheduler.max_epochs,
                "threads": plan.cpus,
            },
            corpora=[ray.put(corpus) for corpus in corpora],
        )
        trainable = tune.with_resources(tune.with_parameters(Lane, lane=lane), LANE_RESOURCES)
        recorder.switch = stop
        tune.Tuner(
            trainable,
            tune_config=TuneConfig(
                num_samples=settings.trials,
                max_concurrent_trials=plan.lanes,
                search_alg=searcher,
                scheduler=_scheduler(settings.scheduler, settings.metric),
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=RunConfig(
                name=name,
                storage_path=scratch,
                callbacks=[recorder],
                stop=stop,
                # The desk keeps the trials' checkpoints; Tune would ask the lane for one more.
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
                failure_config=FailureConfig(max_failures=LANE_RESTARTS),
                verbose=0,
            ),
        ).fit()
    if recorder.fatal:
        raise InputError(recorder.fatal)
    if stop.signalled:
        raise InterruptedSearchError
    return recorder.outcomes


def _scheduler(settings: SchedulerSettings, metric: str) -> TrialScheduler:
    if settings.kind == "none":
        return FIFOScheduler()
    # time_attr is our own count: Tune's training_iteration starts anew in a resumed trial.
    return ASHAScheduler(
        time_attr="epoch",
        metric=metric,
        mode="max",
        max_t=settings.max_epochs,
        grace_period=min(settings.grace_epochs, settings.max_epochs),
        reduction_factor=settings.reduction,
    )


class Unpickled:
    """Tune pickles what it runs with; nothing of this project is ever restored from that."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class StopSwitch(Unpickled, Stopper):
    """Ends the search when it is thrown: by SIGINT, by SIGTERM, or by the recorder."""

    def __init__(self) -> None:
        self.thrown = False
        self.signalled = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.thrown

    def stop_all(self) -> bool:
        """Asked by Tune in every turn of its loop."""
        return self.thrown

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Be thrown by the first SIGINT or SIGTERM; a second one acts as it always does."""

        def throw(number: int, frame: FrameType | None) -> None:
            self.thrown = self.signalled = True
            signal.signal(number, before[signal.Signals(number)])

        before = {s: signal.signal(s, throw) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Recorder(Unpickled, Callback):
    """Writes what Tune hears into the journal and shows it."""

    def __init__(self, journal: Journal, view: View, max_epochs: int) -> None:
        self.outcomes = Outcomes()
        self.fatal = ""
        self.switch: StopSwitch | None = None
        self._journal = journal
        self._view = view
        self._max_epochs = max_epochs

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A trial is given to a lane, for the first time or again."""
        self._meet(trial)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """A trial has done an epoch, failed, or found that its lane can train nothing."""
        if "fatal" in result and self.switch is not None:
            self.fatal = result["fatal"]
            self.switch.thrown = True
        elif "by_language" in result:
            event = {"event": "report", "trial": self._meet(trial)}
            self._note(event | {name: result[name] for name in REPORTED})

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A trial has ended: finished, stopped, or failed by its own fault."""
        self._end(trial, str(trial.last_result.get("failed", "")))

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A trial has lost its lane more often than it may."""
        lines = (trial.error_file and Path(trial.error_file).read_text().strip().splitlines()) or []
        self._end(trial, lines[-1] if lines else "its lane was lost")

    def _end(self, trial: Trial, error: str) -> None:
        number = self._meet(trial)
        outcome = self.outcomes.by_trial[number]
        if self.fatal or outcome.state is not None:
            return
        state = state_of(outcome.epochs, self._max_epochs, error)
        self._note({"event": "end", "trial": number, "state": state, "error": error})

    def _meet(self, trial: Trial) -> int:
        """Note a trial when it is first heard of: where its lane is lost at once, by its end."""
        number: int = trial.config["trial"]
        if number not in self.outcomes.by_trial:
            values = trial.config["values"]
            reference = number == 0
            self._note(
                {"event": "trial", "trial": number, "reference": reference, "values": values}
            )
        return number

    def _note(self, event: Event) -> None:
        self._journal.append(event)
        self.outcomes.follow(event)
        self._view.update(self.outcomes)
