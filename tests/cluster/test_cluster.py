"""Searches on a cluster of several machines: lanes follow it, and nothing that it loses is lost."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Iterator

import psutil
import pytest

from tests.cluster.machines import RAY, ROOT, SPACE, Machines, finish, machines, wait_for
from tests.cluster.scenario import SEARCH, Scenario


@pytest.fixture
def two_workers() -> Iterator[Machines]:
    with machines(2, environment={"RAY_JOB_STOP_WAIT_TIME_S": "60"}) as made:
        yield made


def worker_of(cluster: Machines, number: int) -> psutil.Process:
    """The process that trains on a machine."""
    (worker,) = cluster.all[number].processes("LaneWorker")
    return worker


def assert_nothing_is_lost(scenario: Scenario, printed: str) -> None:
    assert not scenario.lost_trials(), printed
    for trial, epochs in scenario.curves().items():
        assert epochs == list(range(1, len(epochs) + 1)), (trial, epochs)


def assert_seen_from_outside(cluster: Machines) -> None:
    """The dashboard names lanes and workers, the processes say what they do, metrics are there."""
    actors = json.loads(cluster.get(f"{cluster.dashboard}/logical/actors"))["data"]["actors"]
    names = {actor["reprName"] for actor in actors.values() if actor["state"] == "ALIVE"}
    expected = {f"lane {n}{what}" for n in (1, 2, 3) for what in ("", ": worker")}
    assert expected | {"mailboxes of all lanes"} <= names
    assert cluster.head.processes("ray::lane 2: trial ")
    pattern = r'ray_isogloss_lanes\{[^}]*run="follow",[^}]*state="wanted"[^}]*\} 3'
    wait_for(lambda: bool(re.search(pattern, cluster.metrics())), 120, pattern)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_lanes_follow_the_machines_and_no_trial_is_lost(two_workers: Machines) -> None:
    search = Scenario(two_workers, "follow")
    search.start()
    search.wait_for_lanes(2)

    two_workers.join()
    search.after("a machine joins", "the cluster has grown: room for 3 workers")
    search.wait_for_lanes(3)
    assert [len(machine.processes("LaneWorker")) for machine in two_workers.all] == [0, 1, 1, 1]

    assert_seen_from_outside(two_workers)

    victim = worker_of(two_workers, 1)
    victim.kill()
    killed = search.after("a worker is killed", r"\(process \d+ on .*killed", trial_goes_on=True)
    assert f"process {victim.pid}" in killed.said

    two_workers.all[2].kill()
    search.after("a machine goes", "a worker of trial .* went with its machine", trial_goes_on=True)
    search.wait_for_note("the cluster has shrunk: room for 2 workers")
    search.wait_for_lanes(2)

    printed = search.end()
    assert search.process.returncode == 130
    assert "note: the cluster has shrunk" in printed
    assert_nothing_is_lost(search, printed)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_submitted_job_keeps_its_run_folder_and_stops_in_order(two_workers: Machines) -> None:
    """``ray job submit``, then ``ray job stop``."""
    source = two_workers.head.home / "checkout"
    for part in ("components", "search"):
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "space.yaml").write_text(SPACE + SEARCH)
    head = two_workers.head
    address = ["--address", two_workers.dashboard]
    # The package goes with the session, so nothing of this checkout may be found otherwise.
    submit = two_workers.command(
        RAY, "job", "submit", *address, "--submission-id", "job", "--no-wait",
        "--working-dir", str(source), "--",
        "python", "-m", "search.run", "space.yaml", "--address", "auto", "--name", "job",
    )  # fmt: skip
    printed = finish(submit, 120)
    assert submit.returncode == 0, printed
    job = Scenario(two_workers, "job")
    journal = job.folder / "journal.jsonl"

    def said() -> str:
        return finish(two_workers.command(RAY, "job", "logs", *address, "job"), 60)

    wait_for(lambda: journal.exists() and b'"event":"epoch"' in journal.read_bytes(), 240, said)
    stop = two_workers.command(RAY, "job", "stop", *address, "job")
    finish(stop, 120)
    text = said()
    assert f"run folders lie below {head.home}" in text
    assert "Traceback" not in text, text
    assert (job.folder / "leaderboard.csv").exists()
    assert "ended by SIGTERM" in text


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_lane_over_two_machines_outlives_a_worker_at_a_standstill(two_workers: Machines) -> None:
    search = Scenario(two_workers, "pair", SPACE + SEARCH + "lane: {workers: 2, cpus: 1}\n")
    search.start()
    search.wait_for_lanes(1)
    assert [len(machine.processes("LaneWorker")) for machine in two_workers.all] == [0, 1, 1]
    victim = worker_of(two_workers, 2)
    victim.send_signal(signal.SIGSTOP)
    stopped = search.after("a worker stands still", "has not answered for 60 s", trial_goes_on=True)
    assert f"process {victim.pid}" in stopped.said
    assert_nothing_is_lost(search, search.end())
