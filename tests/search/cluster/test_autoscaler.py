"""What a cluster may grow to is read from the file that its autoscaler was started with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config

from search.cluster.autoscaler import machines, read_autoscaling_config, undescribed
from search.cluster.resources import plan_lanes
from search.cluster.size import LanePlan, Node
from search.settings.sections import LaneSettings, SearchSettings

ROOT = Path(__file__).parents[3]
MANY = SearchSettings(trials=100)


def shipped() -> dict[str, Any]:
    text = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
    prepared: dict[str, Any] = prepare_config(yaml.safe_load(text))
    return prepared


def test_the_shipped_cluster_is_planned_with_no_worker_up() -> None:
    grown = machines(shipped())
    assert grown == [Node(2, 0), *[Node(8, 1)] * 4]
    # Nothing of the head is trained on, where the file has GPUs.
    assert plan_lanes(LaneSettings(), MANY, [[Node(2)], grown]) == LanePlan(4, 1, 8, 1)
    asked = SearchSettings(trials=100, concurrency=4)
    assert plan_lanes(LaneSettings(gpus=1), asked, [[Node(2)], grown]).lanes == 4


def test_machines_of_one_s_own_say_what_they_have_when_they_join() -> None:
    assert undescribed(shipped()) == 0
    local = yaml.safe_load((ROOT / "docs/clusters/local.yaml").read_text(encoding="utf-8"))
    assert undescribed(prepare_config(local)) == 2
    assert undescribed({"available_node_types": {"on demand": {"resources": {}}}}) == 0


@pytest.mark.parametrize(
    ("types", "most", "expected"),
    [
        # A type without a limit has that of the cluster, and the cluster's holds for all types.
        ({"a": {"resources": {"CPU": 4}}}, 2, [Node(4), Node(4)]),
        ({"a": {"resources": {"CPU": 4}, "max_workers": 9}}, 2, [Node(4), Node(4)]),
        (
            {"a": {"resources": {"CPU": 64}, "max_workers": 2},
             "b": {"resources": {"CPU": 8, "GPU": 2}, "max_workers": 1}},
            2, [Node(8, 2), Node(64)],
        ),
        # Of two types with as many GPUs: a lane that fits the one with fewer CPUs fits both.
        (
            {"a": {"resources": {"CPU": 16, "GPU": 1}}, "b": {"resources": {"CPU": 8, "GPU": 1}}},
            2, [Node(8, 1), Node(8, 1)],
        ),
        ({"a": {"resources": {"CPU": 4}, "max_workers": 0}}, 3, []),
        ({}, 3, []),
    ],
)  # fmt: skip
def test_limits_of_types_and_of_the_cluster(
    types: dict[str, Any], most: int, expected: list[Node]
) -> None:
    head = {"head": {"resources": {"CPU": 1}, "max_workers": 0}}
    config = {"head_node_type": "head", "max_workers": most, "available_node_types": head | types}
    assert machines(config) == [Node(1), *expected]


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Path]:
    """A process with the command line of Ray's monitor; the file that it names."""
    file = tmp_path / "bootstrap.yaml"
    flags = ["--gcs-address=203.0.113.9:6379", f"--autoscaling-config={file}"]
    process = subprocess.Popen([sys.executable, "-c", "input()", *flags], stdin=subprocess.PIPE)
    yield file
    process.communicate(b"\n")


def test_the_file_is_found_by_the_monitor_of_the_same_cluster(monitor: Path) -> None:
    monitor.write_text(yaml.safe_dump(shipped()))
    assert read_autoscaling_config("203.0.113.9:6379") == shipped()
    assert read_autoscaling_config("203.0.113.9:6380") is None
