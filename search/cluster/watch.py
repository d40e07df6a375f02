"""What becomes of machines and workers while a search runs: how many lanes there is room for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ray.exceptions import RayActorError
from ray.tune import Callback
from ray.tune.experiment import Trial

from search.cluster.callbacks import Recorder, Unpickled
from search.cluster.gauges import Gauges
from search.cluster.size import LanePlan, Node
from search.report.terminal import View
from search.report.words import duration

LOOK_EVERY_S = 2.0
# So long may it last that no lane runs, for want of a machine, before the search ends.
MOST_WAIT_S = 1800.0
SAY_AFTER_S = 60.0  # a lane takes some seconds to start


class Room:
    """How many lanes the machines there hold, whatever runs on them.

    Args:
        plan: the size of a lane, and how many lanes the machines hold that it was made for.
        machines: those that are there now.
        follows: whether lanes follow the machines; otherwise the plan holds for good.
        most: lanes at a time that were asked for; None for no limit.

    Attributes:
        nodes: the machines when they were last looked at.
    """

    def __init__(
        self,
        plan: LanePlan,
        machines: Callable[[], Sequence[Node]],
        *,
        follows: bool,
        most: int | None = None,
    ) -> None:
        self._plan = plan
        self._machines = machines
        self._follows = follows
        self._most = most
        self.nodes: Sequence[Node] = machines()

    def look(self) -> None:
        """Look at the machines again."""
        self.nodes = self._machines()

    @property
    def workers(self) -> int:
        """Workers that the machines hold."""
        return sum(node.holds(self._plan.cpus, self._plan.gpus) for node in self.nodes)

    @property
    def lanes(self) -> int:
        """Lanes to have, of which one may wait for its machine."""
        if not self._follows:
            return self._plan.lanes
        lanes = self.workers // self._plan.workers
        return max(1, lanes if self._most is None else min(lanes, self._most))

    def missing(self) -> str:
        """Why no lane has room, in words."""
        if self.workers >= self._plan.workers:
            return "other work may hold the machines that have it"
        there = ", ".join(map(str, self.nodes)) or "none"
        return f"the machines there have {there}"


class ClusterWatch(Unpickled, Callback):
    """Says what happens to machines and workers, and ends a search that waits in vain.

    Args:
        wanted: workers that the cluster is to grow to; None where it does not grow.
        losses: gives what was lost since it was asked before.
        gauges: shown by the dashboard's metrics.
    """

    def __init__(
        self,
        plan: LanePlan,
        room: Room,
        recorder: Recorder,
        view: View,
        losses: Callable[[], Sequence[str]],
        gauges: Gauges,
        wanted: int | None = None,
    ) -> None:
        self._plan = plan
        self._room = room
        self._recorder = recorder
        self._view = view
        self._losses = losses
        self._gauges = gauges
        self._wanted = wanted
        self._there = room.workers if wanted is None else wanted
        self._due = 0.0
        self._idle_since: float | None = None
        self._said_idle = False

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Look again, if it is time to; Tune asks in every turn of its loop."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + LOOK_EVERY_S
        try:
            losses = self._losses()
        except RayActorError:
            self._recorder.give_up("the process that passes messages between the lanes is gone")
            return
        for loss in losses:
            self._recorder.tell(loss)
        self._view.pulse()
        self._look_at_machines()
        placed = sum(trial.status == Trial.RUNNING for trial in trials)
        self._gauges.show(
            self._recorder.outcomes, wanted=self._room.lanes, placed=placed, losses=len(losses)
        )
        self._look_at_lanes(now, trials)

    def _look_at_machines(self) -> None:
        before = self._there
        self._room.look()
        there = self._room.workers
        if self._wanted is not None:
            there = min(there, self._wanted)
        self._there = there
        if there == before:
            return
        size = self._plan.size
        if self._wanted is not None and there < self._wanted:
            self._view.status(f"waiting for {self._wanted} workers with {size}: {there} there")
        elif self._wanted is not None:
            self._view.status(str(self._plan))
        else:
            what = "grown" if there > before else "shrunk"
            now = f"room for {there} workers with {size}, {before} before"
            self._recorder.tell(f"the cluster has {what}: {now}")

    def _look_at_lanes(self, now: float, trials: list[Trial]) -> None:
        if any(trial.status == Trial.RUNNING for trial in trials):
            self._idle_since, self._said_idle = None, False
            return
        self._idle_since = self._idle_since or now
        waited = now - self._idle_since
        if waited > MOST_WAIT_S:
            self._recorder.give_up(
                f"no lane has had room for {duration(MOST_WAIT_S)}: it needs "
                f"{self._plan.workers_text}, and {self._room.missing()} (see `ray status`)"
            )
        elif waited > SAY_AFTER_S and not self._said_idle:
            self._said_idle = True
            self._view.status(f"waiting for {self._plan.workers_text}: {self._room.missing()}")
