"""When a trial is stopped: ASHA, which leaves the reference trial alone."""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from search.settings.interface import SchedulerConfig

# Number of the reference trial, which is drawn first.
REFERENCE = 0


def make_scheduler(settings: SchedulerConfig, metric: str) -> TrialScheduler:
    """Make the Ray Tune scheduler that the settings describe."""
    if not settings.rungs():
        return FIFOScheduler()
    # time_attr is our own count: Tune's training_iteration starts anew in a resumed trial.
    return ReferenceKeepingASHA(
        time_attr="epoch",
        metric=metric,
        mode="max",
        max_t=settings.max_epochs,
        grace_period=settings.grace_epochs,
        reduction_factor=settings.reduction,
    )


class ReferenceKeepingASHA(ASHAScheduler):
    """ASHA (Li et al., 2020) that lets the reference trial run to its last epoch.

    What others are compared with must be its score after all epochs, so ASHA's decision to stop
    the reference is not carried out. From that decision on, its results stay out of the rungs: a
    rung would otherwise hold a trial that did not earn its place there, its score would lower the
    cutoff, and weaker trials would pass. So every other trial meets exactly the decisions that it
    would meet if the reference had been stopped.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Of the reference, not of a Tune trial: it gets another one after the loss of its lane.
        self._reference_dropped = False

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide whether a trial goes on after an epoch."""
        going_on: str = TrialScheduler.CONTINUE
        if trial.config["trial"] != REFERENCE:
            decision: str = super().on_trial_result(tune_controller, trial, result)
            return decision
        if not self._reference_dropped:
            decision = super().on_trial_result(tune_controller, trial, result)
            self._reference_dropped = decision == TrialScheduler.STOP
        return going_on  # its worker ends it after the last epoch

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Record the last result of a trial."""
        if trial.config["trial"] != REFERENCE or not self._reference_dropped:
            super().on_trial_complete(tune_controller, trial, result)
