"""Lanes fitted to machines, and one sentence where they do not fit."""

from __future__ import annotations

import pytest

from search.cluster.resources import plan_lanes
from search.cluster.size import LanePlan, Node
from search.settings.problems import InputError
from search.settings.sections import LaneSettings, SearchSettings

MANY = SearchSettings(trials=100)


@pytest.mark.parametrize(
    ("nodes", "lane", "search", "plan"),
    [
        # Without GPUs each lane gets an equal share of the CPUs ...
        ([Node(2)], LaneSettings(), MANY, LanePlan(2, 1, 1, 0)),
        ([Node(8)], LaneSettings(), SearchSettings(trials=3), LanePlan(3, 1, 2, 0)),
        ([Node(64)], LaneSettings(), MANY, LanePlan(8, 1, 8, 0)),
        ([Node(16)] * 100, LaneSettings(), SearchSettings(trials=5000), LanePlan(800, 1, 2, 0)),
        ([Node(8)], LaneSettings(workers=2), MANY, LanePlan(4, 2, 1, 0)),
        ([Node(8)], LaneSettings(), SearchSettings(concurrency=1), LanePlan(1, 1, 8, 0)),
        # ... unless their number is given.
        ([Node(8)], LaneSettings(cpus=3), MANY, LanePlan(2, 1, 3, 0)),
        ([Node(64)], LaneSettings(cpus=4), MANY, LanePlan(16, 1, 4, 0)),
        # A worker does not span machines; a lane may.
        ([Node(3), Node(3)], LaneSettings(cpus=2), MANY, LanePlan(2, 1, 2, 0)),
        ([Node(3), Node(3)], LaneSettings(workers=2, cpus=2), MANY, LanePlan(1, 2, 2, 0)),
        # GPUs are used where there are any, one a worker, with their share of the CPUs.
        ([Node(16, 4)], LaneSettings(), MANY, LanePlan(4, 1, 4, 1)),
        ([Node(16, 4)], LaneSettings(workers=4), MANY, LanePlan(1, 4, 4, 1)),
        ([Node(16, 4)], LaneSettings(gpus=2), MANY, LanePlan(2, 1, 8, 2)),
        ([Node(16, 4)], LaneSettings(gpus=0, cpus=4), MANY, LanePlan(4, 1, 4, 0)),
        ([Node(2, 4)], LaneSettings(), MANY, LanePlan(2, 1, 1, 1)),
        ([Node(4), Node(8, 2)], LaneSettings(), MANY, LanePlan(2, 1, 4, 1)),
    ],
)
def test_lanes_fit_the_machines(
    nodes: list[Node], lane: LaneSettings, search: SearchSettings, plan: LanePlan
) -> None:
    assert plan_lanes(lane, search, [nodes]) == plan


@pytest.mark.parametrize("cpus", range(1, 20))
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_plan_never_takes_more_than_there_is(cpus: int, workers: int) -> None:
    if cpus < workers:
        with pytest.raises(InputError):
            plan_lanes(LaneSettings(workers=workers), MANY, [[Node(cpus)]])
        return
    plan = plan_lanes(LaneSettings(workers=workers), MANY, [[Node(cpus)]])
    assert 1 <= plan.lanes * plan.workers * plan.cpus <= cpus


def test_the_plan_is_made_for_what_the_cluster_may_grow_to() -> None:
    head, grown = [Node(4)], [Node(4), Node(16, 4), Node(16, 4)]
    assert plan_lanes(LaneSettings(), MANY, [head, grown]) == LanePlan(8, 1, 4, 1)
    # An autoscaler may list only what it adds, which can be less than what is there.
    assert plan_lanes(LaneSettings(), MANY, [[Node(8, 2)], [Node(2, 1)]]).lanes == 2


@pytest.mark.parametrize(
    ("nodes", "lane", "search", "key", "words"),
    [
        ([Node(2)], LaneSettings(workers=3), MANY, "lane.workers", "needs 3 workers with 1 CPU"),
        ([Node(2)], LaneSettings(cpus=4), MANY, "lane.cpus", "needs 1 worker with 4 CPU"),
        ([Node(2)], LaneSettings(gpus=1), MANY, "lane.gpus", "must be 0, for there is no GPU"),
        ([Node(8, 2)], LaneSettings(gpus=4), MANY, "lane.gpus", "1 CPU and 4 GPU"),
        ([], LaneSettings(), MANY, "lane.cpus", "needs 1 worker"),
        (
            [Node(2)],
            LaneSettings(),
            SearchSettings(concurrency=3),
            "search.concurrency",
            "is 3; it must be at most 2",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    nodes: list[Node], lane: LaneSettings, search: SearchSettings, key: str, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        plan_lanes(lane, search, [nodes])
    (problem,) = caught.value.problems
    assert problem.key == key
    assert words in problem.message


def test_a_plan_reads_well() -> None:
    assert str(LanePlan(1, 1, 1, 0)) == "1 lane of 1 worker with 1 CPU"
    assert str(LanePlan(4, 2, 1, 1)) == "4 lanes of 2 workers with 1 CPU and 1 GPU"
