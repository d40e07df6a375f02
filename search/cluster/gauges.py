"""How a search stands, as metrics that Ray passes on to Prometheus."""

from __future__ import annotations

import math

from ray.util.metrics import Gauge

from search.events.outcomes import Outcomes
from search.settings.trial import Scores

# Ray puts "ray_" in front of each name.
PREFIX = "isogloss"
STATES = ("running", "stopped", "finished", "failed")


class Gauges:
    """The metrics of one search; all have the tag ``run``, its name.

    Args:
        run: its name.
    """

    def __init__(self, run: str) -> None:
        tags = {
            "trials": ("Trials by state.", "state"),
            "objective": ("What the search maximises: of the best trial and others.", "which"),
            "accuracy": ("Top-1 retrieval accuracy of a language.", "which", "language"),
            "epochs": ("Epochs done by all trials.",),
            "training_seconds": ("Seconds of training and evaluation of all trials.",),
            "lanes": ("Lanes: wanted by the search, or placed.", "state"),
            "losses": ("Workers that were lost.",),
        }
        self._gauges = {
            name: Gauge(f"{PREFIX}_{name}", description=text, tag_keys=("run", *keys))
            for name, (text, *keys) in tags.items()
        }
        self._run = run
        self._losses = 0

    def _set(self, name: str, value: float, **tags: str) -> None:
        if math.isfinite(value):
            self._gauges[name].set(value, {"run": self._run, **tags})

    def show(self, outcomes: Outcomes, *, wanted: int, placed: int, losses: int) -> None:
        """Set all of them.

        Args:
            wanted, placed: lanes that there are to be, and that there are.
            losses: workers lost since the last time.
        """
        trials = outcomes.by_trial.values()
        for state in STATES:
            count = sum((outcome.state or "running") == state for outcome in trials)
            self._set("trials", count, state=state)
        best = outcomes.leader()
        self._show_scores("best", best.scores if best else None)
        self._show_scores("reference", outcomes.reference())
        self._show_scores("untouched", outcomes.untouched)
        self._set("epochs", sum(outcome.epochs for outcome in trials))
        self._set("training_seconds", sum(outcome.seconds for outcome in trials))
        self._set("lanes", wanted, state="wanted")
        self._set("lanes", placed, state="placed")
        self._losses += losses
        self._set("losses", self._losses)

    def _show_scores(self, which: str, scores: Scores | None) -> None:
        if scores is None:
            return
        self._set("objective", scores.value, which=which)
        for language, accuracy in scores.by_language.items():
            self._set("accuracy", accuracy, which=which, language=language)
