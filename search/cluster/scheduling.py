"""When a trial is stopped: ASHA, which leaves the reference trial alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from search.cluster.lane import OBJECTIVE
from search.events.types import EpochDone, Event, TrialStarted
from search.settings.interface import SchedulerConfig
from search.space.domains import REFERENCE_TRIAL


def is_unscheduled(config: Mapping[str, object]) -> bool:
    """Whether what Tune is given trains to its last epoch, or is only scored.

    That are the tasks of the finals, and the trials that go on from others.
    """
    is_final = config.get("task") == "score" or bool(config.get("repeat"))
    return is_final or config.get("parent") is not None


def make_scheduler(settings: SchedulerConfig) -> KeepingNewLanes:
    """Make the Ray Tune scheduler that the settings describe."""
    if not settings.rungs():
        return KeepingNewLanes()
    # time_attr is our own count: Tune's training_iteration starts anew in a resumed trial.
    return ReferenceKeepingASHA(
        time_attr="epoch",
        metric=OBJECTIVE,
        mode="max",
        max_t=settings.max_epochs,
        grace_period=settings.grace_epochs,
        reduction_factor=settings.reduction,
    )


def replay(scheduler: TrialScheduler, events: Iterable[Event], max_epochs: int) -> set[int]:
    """Bring a scheduler to where it was after the events of an earlier command.

    Returns:
        The trials that it has stopped, whether or not their end is among the events.
    """
    stopped: set[int] = set()
    known: set[int] = set()
    done: set[int] = set()
    for event in events:
        if isinstance(event, TrialStarted) and event.parent is not None:
            done.add(event.trial)  # it is not scheduled
        if not isinstance(event, EpochDone) or event.repeat or event.trial in done:
            continue
        trial = Numbered({"trial": event.trial})
        if event.trial not in known:
            known.add(event.trial)
            scheduler.on_trial_add(None, trial)
        result = {"epoch": event.epoch, OBJECTIVE: event.value}
        if event.epoch >= max_epochs:
            done.add(event.trial)
            scheduler.on_trial_complete(None, trial, result)
        elif scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP:
            stopped.add(event.trial)
    return stopped


@dataclass(frozen=True)
class Numbered:
    """What a scheduler reads of a trial, under a name that does not change from lane to lane."""

    config: dict[str, object]

    @property
    def trial_id(self) -> str:
        return f"trial {self.config['trial']}"


class KeepingNewLanes(FIFOScheduler):
    """Gives each trial to the lane that comes free, and lets a lane that starts keep its own.

    Asked by Tune for a trial to run, Ray's schedulers name the one that has waited longest. Where
    that waits for a lane that is being started, Tune would give it to the next lane that comes
    free, and start another lane from the beginning: where trials are shorter than the start of a
    lane, a machine that joins would never get one. Without an answer, Tune takes the newest, and
    turns to those that wait for a lane once there are no others.

    It also keeps lanes that come free before the finals, which Tune would end but for one, and
    which would have to be started, and load the base, once more.

    Attributes:
        wanted: how many lanes that stand idle are to be kept.
    """

    wanted: Callable[[], int] = staticmethod(lambda: 0)
    _kept = 0

    def choose_trial_to_run(self, tune_controller: object) -> None:
        """Name none."""

    def on_trial_complete(
        self, tune_controller: object, trial: Trial | Numbered, result: Mapping[str, object]
    ) -> None:
        """Record the last result of a trial."""
        self._keep_lanes(tune_controller, trial)
        super().on_trial_complete(tune_controller, trial, result)

    def _keep_lanes(self, tune_controller: object, trial: Trial | Numbered) -> None:
        """Say how many idle lanes are kept, before Tune decides about that of an ended trial."""
        # It is not part of Ray's interface. Where it is missing, lanes are started anew.
        cache = getattr(tune_controller, "_actor_cache", None)
        if cache is not None and isinstance(trial, Trial):
            wanted = self.wanted()
            cache.increase_max(trial.placement_group_factory, wanted - self._kept)
            self._kept = wanted


class ReferenceKeepingASHA(KeepingNewLanes, ASHAScheduler):
    """ASHA (Li et al., 2020) that lets the reference trial run to its last epoch.

    What others are compared with must be its score after all epochs, so ASHA's decision to stop
    the reference is not carried out. From that decision on, its results stay out of the rungs: a
    rung would otherwise hold a trial that did not earn its place there, its score would lower the
    cutoff, and weaker trials would pass. So every other trial meets exactly the decisions that it
    would meet if the reference had been stopped.
    """

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self._reference_dropped = False

    def on_trial_add(self, tune_controller: object, trial: Trial | Numbered) -> None:
        """Take in a trial, or one that comes again: its rungs hold it by its number.

        One that has lost its lane, or whose search goes on after a loss, is another one to Tune.
        """
        if not is_unscheduled(trial.config):
            super().on_trial_add(tune_controller, Numbered(trial.config))

    def on_trial_result(
        self, tune_controller: object, trial: Trial | Numbered, result: dict[str, object]
    ) -> str:
        """Decide whether a trial goes on after an epoch."""
        going_on: str = TrialScheduler.CONTINUE
        if is_unscheduled(trial.config):
            return going_on
        numbered = Numbered(trial.config)
        if trial.config["trial"] != REFERENCE_TRIAL:
            decision: str = super().on_trial_result(tune_controller, numbered, result)
            return decision
        if not self._reference_dropped:
            decision = super().on_trial_result(tune_controller, numbered, result)
            self._reference_dropped = decision == TrialScheduler.STOP
        return going_on  # its worker ends it after the last epoch

    def on_trial_complete(
        self, tune_controller: object, trial: Trial | Numbered, result: Mapping[str, object]
    ) -> None:
        """Record the last result of a trial."""
        self._keep_lanes(tune_controller, trial)
        if is_unscheduled(trial.config):
            return
        if trial.config["trial"] != REFERENCE_TRIAL or not self._reference_dropped:
            super().on_trial_complete(tune_controller, Numbered(trial.config), result)

    def on_trial_remove(self, tune_controller: object, trial: Trial | Numbered) -> None:
        """Forget a trial that has been lost; what its rungs hold stays."""
        if not is_unscheduled(trial.config):
            self._trial_info.pop(Numbered(trial.config).trial_id, None)
