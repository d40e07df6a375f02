"""Lanes on a real Ray instance: what runs in one leaves no trace in what runs next."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray
import torch
from ray import tune
from ray.exceptions import RayActorError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from search.cluster.connection import QUIET
from search.cluster.group import LossWatch
from search.cluster.lane import Lane, LaneSetup, lane_resources, last_error
from search.cluster.mailboxes import MailboxActor
from search.cluster.size import LanePlan
from search.cluster.transfer import CheckpointPlace
from search.events.replies import TrialFailed
from search.features import FeaturePlan
from search.runs.prepare import Prepared, prepare
from search.runtime.checkpoints import Checkpoints
from search.settings.sections import CacheSettings
from search.settings.trial import TrialConfig
from search.training.checkpoint import Checkpoint

EPOCHS = 3
CPUS = 3  # one for the lane that several tests share, two for the lane of two workers
SPACE = """
data: {train: builtin:cldr, languages: [en, de, ko], train_rows: 80, validation_rows: 24}
base: {model: builtin:tiny}
training: {batch_size: 8, pairs_per_epoch: 16}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(
        "local",
        num_cpus=CPUS,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": QUIET},
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    file = tmp_path_factory.mktemp("space") / "space.yaml"
    file.write_text(SPACE)
    return prepare(file)


def config(**sections: Any) -> dict[str, Any]:
    values = {
        "base": {"model": "builtin:tiny"},
        "head": {"kind": "linear", "width": 16},
        "training": {"batch_size": 8, "pairs_per_epoch": 16},
    }
    return TrialConfig.of(values | sections).model_dump()


LORA = {"kind": "lora", "rank": 4, "last_layers": 2, "dropout": 0.1}
LAST = config(adapter=LORA, pooling={"kind": "attention"}, optimizer={"lr": 0.003})
BEFORE = [
    config(),
    config(pooling={"kind": "max"}),
    config(adapter=LORA | {"targets": "all-linear", "last_layers": "all"}),
    config(loss={"kind": "info_nce", "learned": True}),
    config(pooling={"kind": "attention", "heads": 3}),  # 3 does not divide 128: it fails
    config(adapter=LORA, training={"batch_size": 8, "pairs_per_epoch": 16, "seed": 7}),
    config(head={"kind": "mlp", "hidden": 32, "width": 16}),
    config(adapter=LORA | {"rank": 8}),
    config(pooling={"kind": "last"}),
]
SPLIT = config(
    adapter=LORA | {"dropout": 0.0},
    loss={"kind": "info_nce", "learned": True},
    pooling={"kind": "attention", "heads": 2},
)


class OpenLane:
    """A lane outside Tune: the same actor, driven by hand."""

    def __init__(
        self,
        folder: Path,
        prepared: Prepared,
        workers: int = 1,
        session: Any = None,
        shared: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        holder = "this test"
        (folder / "holder.json").write_text(holder if shared else "who holds it elsewhere")
        self._folder = folder
        split = prepared.split
        settings = replace(
            prepared.session,
            cache=CacheSettings(folder=str(folder / "cache")),
            features=FeaturePlan(boundaries=(4,), statistics=("mean",)),
            max_epochs=EPOCHS,
            rung_epochs=1,
        )
        self.mailboxes = MailboxActor.remote(str(folder / "trials"))
        self._plan = LanePlan(1, workers, 1, 0)
        setup = LaneSetup(
            name="test",
            mailboxes=self.mailboxes,
            scratch=str(folder / "scratch"),
            plan=self._plan,
            work={
                "corpora": {"train": ray.put(split.train), "validation": ray.put(split.validation)},
                "checkpoints": CheckpointPlace(str(folder / "trials"), str(folder), holder),
                "session": settings.plain() if session is None else session,
                "folder": str(folder.parent),
                "threads": 1,
            },
        )
        self._kind = tune.with_parameters(Lane, lane=setup)
        self._room: Any = None
        self._lane: Any = None
        self._trials = 0

    def start(self, values: dict[str, Any]) -> None:
        order = {"trial": self._trials, "values": values}
        self._trials += 1
        if self._lane is not None:
            assert ray.get(self._lane.reset.remote(order))
            return
        # As Tune does it.
        self._room = placement_group(lane_resources(self._plan).bundles)
        place = PlacementGroupSchedulingStrategy(
            self._room, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
        )
        actor = ray.remote(num_cpus=0)(self._kind)
        self._lane = actor.options(scheduling_strategy=place).remote(order)

    def step(self) -> dict[str, Any]:
        result: dict[str, Any] = ray.get(self._lane.train.remote())
        return result

    def train(self, values: dict[str, Any], stop_at: int = EPOCHS) -> list[dict[str, Any]]:
        self.start(values)
        results: list[dict[str, Any]] = []
        while len(results) < stop_at and not (results and results[-1].get("done")):
            results.append(self.step())
        return results

    def checkpoint(self) -> Checkpoint:
        """Of the trial that was started last."""
        with Checkpoints(self._folder / "trials").opened(self._trials - 1) as file:
            assert file is not None
            return Checkpoint.read(file)

    def close(self) -> None:
        ray.get(self._lane.stop.remote())
        ray.kill(self._lane)
        remove_placement_group(self._room)
        ray.kill(self.mailboxes)


class Victim:
    """An actor to be killed."""

    def pid(self) -> int:
        return os.getpid()

    def wait(self) -> None:
        time.sleep(600)


def workers() -> list[int]:
    """Process ids of the Ray Train workers of this session."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # what ends meanwhile is none
            if "LaneWorker" in " ".join(process.cmdline()):
                found.append(process.pid)
    return found


def wait_for_cpus(count: float) -> None:
    """Wait until so many are free: Ray knows a moment later what a closed lane has given back."""
    for _ in range(300):
        if ray.available_resources().get("CPU") == count:
            return
        time.sleep(0.1)
    raise AssertionError(ray.available_resources())


def assert_equal(one: Checkpoint, other: Checkpoint) -> None:
    assert one.weights.keys() == other.weights.keys()
    for name in one.weights:
        assert torch.equal(one.weights[name], other.weights[name]), name


def measured(results: list[dict[str, Any]]) -> list[Any]:
    done = [result["reply"].done for result in results]
    return [(one.epoch, one.loss, one.accuracy, one.by_language) for one in done]


Trained = tuple[list[dict[str, Any]], Checkpoint]


@pytest.fixture(scope="module")
def alone(
    cluster: None, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Trained]:
    """What LAST gives in a lane of its own that nothing has disturbed, and SPLIT after it."""
    lane = OpenLane(tmp_path_factory.mktemp("alone"), prepared)
    found = {
        name: (lane.train(values), lane.checkpoint())
        for name, values in (("last", LAST), ("split", SPLIT))
    }
    lane.close()
    wait_for_cpus(CPUS)
    return found


@pytest.fixture(scope="module")
def lane(
    alone: dict[str, Trained], prepared: Prepared, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OpenLane]:
    """Another lane, which tests use one after another; its workers see no run folder."""
    found = OpenLane(tmp_path_factory.mktemp("lane"), prepared, shared=False)
    yield found
    found.close()
    wait_for_cpus(CPUS)


def test_last_of_ten_equals_alone_and_a_failure_keeps_the_lane(
    alone: dict[str, Trained], lane: OpenLane
) -> None:
    expected, weights = alone["last"]
    before = [lane.train(values, stop_at=1 + index % EPOCHS) for index, values in enumerate(BEFORE)]
    last = [results[-1]["reply"] for results in before]
    assert [isinstance(reply, TrialFailed) for reply in last] == [n == 4 for n in range(len(last))]
    assert "heads" in last[4].message
    at_work = workers()
    got = lane.train(LAST)
    assert workers() == at_work and len(at_work) == 1

    assert measured(got) == measured(expected)
    assert len(got) == EPOCHS and got[-1]["done"]
    assert_equal(lane.checkpoint(), weights)


def test_a_killed_worker_comes_back_and_its_trial_goes_on_as_if_nothing_had_been(
    alone: dict[str, Trained], lane: OpenLane
) -> None:
    expected, weights = alone["last"]
    lane.start(LAST)
    got = [lane.step()]
    (victim,) = workers()
    os.kill(victim, signal.SIGKILL)
    got += [lane.step(), lane.step()]
    assert workers() != [victim]

    assert measured(got) == measured(expected)
    assert_equal(lane.checkpoint(), weights)


@pytest.mark.parametrize("machine_lost", [False, True])
def test_a_killed_process_is_not_taken_for_a_lost_machine(
    cluster: None, machine_lost: bool
) -> None:
    victim = ray.remote(num_cpus=0)(Victim).remote()
    pid = ray.get(victim.pid.remote())
    waiting = victim.wait.remote()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RayActorError) as raised:  # Ray's words on it speak of nodes that die
        ray.get(waiting)
    told: list[tuple[str, bool]] = []
    watch = LossWatch(lambda what, machine: told.append((what, machine)))
    node = "0" * 56 if machine_lost else ray.get_runtime_context().get_node_id()
    who = SimpleNamespace(node_id=node, node_ip="127.0.0.1", pid=pid)
    group: Any = SimpleNamespace(get_workers=lambda: [SimpleNamespace(metadata=who)])
    status: Any = SimpleNamespace(errors={0: WorkerHealthCheckFailedError("", raised.value)})
    watch.after_worker_group_start(group)
    watch.after_worker_group_poll_status(status)
    what = "went with its machine" if machine_lost else "was killed or crashed"
    ((text, lost),) = told
    assert text.startswith(f"rank 0 (process {pid} on 127.0.0.1) {what}")
    assert lost == machine_lost


def test_two_workers_train_what_one_trains(
    alone: dict[str, Trained], prepared: Prepared, tmp_path: Path
) -> None:
    expected, weights = alone["split"]
    free = ray.available_resources()["CPU"]
    two = OpenLane(tmp_path / "two", prepared, workers=2)
    got = two.train(SPLIT)
    two.close()
    losses, others = ([epoch[1] for epoch in measured(results)] for results in (got, expected))
    assert losses == pytest.approx(others, abs=1e-5)
    mine, theirs = two.checkpoint().weights, weights.weights
    assert mine.keys() == theirs.keys()
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=1e-5)
    wait_for_cpus(free)


@pytest.mark.slow  # three groups of workers are started
def test_workers_that_die_before_they_take_a_trial_end_the_lane(
    alone: dict[str, Trained], prepared: Prepared, tmp_path: Path
) -> None:
    broken = OpenLane(tmp_path / "broken", prepared, session={})
    broken.start(LAST)
    with pytest.raises(RuntimeError, match="3 workers died before they took a trial, KeyError"):
        broken.step()
    broken.close()


def test_an_error_is_cut_out_of_the_tracebacks_around_it() -> None:
    text = (
        "Training failed due to controller error:\n"
        "ray::join() (pid=7, ip=10.0.0.2)\n"
        '  File "distributed_c10d.py", line 1899, in init_process_group\n'
        "    raise KeyError\n"
        "RuntimeError: Gloo failed with [pair.cc:152] timed out,\n"
        "  remote=[10.0.0.3]:5"
    )
    assert last_error(text) == (
        "RuntimeError: Gloo failed with [pair.cc:152] timed out, remote=[10.0.0.3]:5"
    )
    assert last_error("no room\nfor it") == "no room for it"
