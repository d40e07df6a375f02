"""What is said of machines that come and go, and what is given up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from search.cluster.size import LanePlan, Node
from search.cluster.watch import ClusterWatch, Room
from search.events.outcomes import Outcomes

PLAN = LanePlan(4, 1, 8, 1)
BIG = Node(8, 1)
SIZE = "8 CPU and 1 GPU"


class Heard:
    """Stands where the screen and the recorder are, and keeps what they are told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.fatal = ""
        self.outcomes = Outcomes()
        self.shown: dict[str, int] = {}

    def status(self, message: str) -> None:
        self.said.append(message)

    tell = status

    def give_up(self, message: str) -> None:
        self.fatal = message

    def pulse(self) -> None:
        """Nothing."""

    def show(self, outcomes: Outcomes, **values: int) -> None:
        """As `Gauges.show`."""
        self.shown = values


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.cluster.watch.LOOK_EVERY_S", 0.0)


def watched(
    counts: Sequence[int], wanted: int | None = None, losses: Sequence[str] = (), status: str = ""
) -> Heard:
    """What is heard where so many machines are there, look after look."""
    left: Iterator[int] = iter(counts)
    heard: Any = Heard()
    room = Room(PLAN, lambda: [BIG] * next(left), follows=True)
    told = [list(losses)]
    watch = ClusterWatch(
        PLAN, room, heard, heard, lambda: told.pop() if told else [], heard, wanted=wanted
    )
    trials: Any = [SimpleNamespace(status=status or "RUNNING")]
    for turn in range(len(counts) - 1):
        watch.on_step_begin(turn, trials)
    found: Heard = heard
    return found


def test_what_is_waited_for_is_said_as_it_changes() -> None:
    wait = f"waiting for 4 workers with {SIZE}: "
    plan = f"4 lanes of 1 worker with {SIZE}"
    heard = watched([0, 0, 0, 1, 4, 9, 3], wanted=4)
    assert heard.said == [f"{wait}0 there", f"{wait}1 there", plan, f"{wait}3 there"]


def test_machines_that_join_and_leave_are_told() -> None:
    assert watched([2, 2, 3, 3, 1]).said == [
        f"the cluster has grown: room for 3 workers with {SIZE}, 2 before",
        f"the cluster has shrunk: room for 1 workers with {SIZE}, 3 before",
    ]


def test_losses_are_told_and_counted() -> None:
    heard = watched([2, 2], losses=["lane 1: a worker was lost"])
    assert heard.said == ["lane 1: a worker was lost"]
    assert heard.shown == {"wanted": 2, "placed": 1, "losses": 1}


def test_a_wait_in_vain_ends_and_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.cluster.watch.SAY_AFTER_S", -1.0)
    waiting = watched([0, 0], status="PENDING")
    assert waiting.said == [f"waiting for 1 worker with {SIZE}: the machines there have none"]
    assert not waiting.fatal
    monkeypatch.setattr("search.cluster.watch.MOST_WAIT_S", -1.0)
    assert (
        f"it needs 1 worker with {SIZE}, and the machines there have none"
        in watched([0, 0], status="PENDING").fatal
    )
    assert "other work may hold the machines" in watched([1, 1], status="PENDING").fatal
    assert not watched([0, 0]).fatal  # a lane runs


def test_lost_mailboxes_end_the_search() -> None:
    heard: Any = Heard()

    def gone() -> list[str]:
        raise ActorDiedError

    watch = ClusterWatch(PLAN, Room(PLAN, list, follows=True), heard, heard, gone, heard)
    watch.on_step_begin(0, [])
    assert "messages between the lanes" in heard.fatal


@pytest.mark.parametrize(
    ("nodes", "follows", "most", "lanes"),
    [
        ([], True, None, 1),  # one may always wait for its machine
        ([BIG] * 3, True, None, 3),
        ([BIG] * 6, True, None, 6),  # more than was planned
        ([BIG] * 6, True, 2, 2),
        ([BIG, Node(64)], True, None, 1),  # no GPU, no lane
        ([BIG] * 6, False, None, 4),
    ],
)
def test_lanes_follow_the_machines(
    nodes: list[Node], follows: bool, most: int | None, lanes: int
) -> None:
    assert Room(PLAN, lambda: nodes, follows=follows, most=most).lanes == lanes


def test_a_lane_of_several_workers_needs_room_for_all() -> None:
    pair = LanePlan(1, 2, 8, 1)
    assert Room(pair, lambda: [BIG] * 5, follows=True).lanes == 2
