"""A search on a cluster without a worker: Ray's autoscaler adds one, and it is trained on.

The provider is Ray's own for tests; its nodes are raylets of this machine.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

HEAD = "ray.head.default"
PORT = 6379  # the provider's nodes join there and nowhere else
CLUSTER = {
    "cluster_name": "growing",
    "max_workers": 1,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 5,
    "provider": {
        "type": "fake_multinode",
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "worker_liveness_check": False,  # it goes by addresses, and all nodes here share one
    },
    "auth": {"ssh_user": "nobody"},
    "head_node_type": HEAD,
    "available_node_types": {
        HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1},
    },
    **{key: {} for key in ("docker", "file_mounts")},
    **{
        key: []
        for key in ("initialization_commands", "setup_commands", "head_setup_commands",
                    "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands",
                    "cluster_synced_files", "rsync_exclude", "rsync_filter")
    },
    "file_mounts_sync_continuously": False,
}  # fmt: skip
SPACE = """
data: {train: builtin:cldr, languages: [en, de], train_rows: 80, validation_rows: 24}
base: {model: builtin:tiny}
training: {batch_size: 8, pairs_per_epoch: 16}
head: {kind: linear, width: {int: [8, 64]}}
search: {trials: 2, scheduler: {max_epochs: 1}}
"""
OPEN = {"RAY_AUTH_MODE": "disabled"}


@pytest.fixture
def head(tmp_path: Path) -> Iterator[str]:
    """The address of a head node without CPUs whose autoscaler may add one worker."""
    if of_the_cluster():
        pytest.skip("another Ray instance runs here, and this one needs its default port")
    file = tmp_path / "cluster.json"
    file.write_text(json.dumps(CLUSTER))
    fast = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
    ray = str(Path(sys.executable).with_name("ray"))
    process = subprocess.Popen(
        [ray, "start", "--head", "--block", f"--port={PORT}", "--num-cpus=0", "--num-gpus=0",
         "--disable-usage-stats", f"--autoscaling-config={file}"],
        env=os.environ | OPEN | fast, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "Ray runtime started" in line:
            break
    time.sleep(2)  # the raylet has yet to register
    yield f"127.0.0.1:{PORT}"
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=120)
    for one in of_the_cluster():  # the provider's nodes outlive the head
        one.kill()


def of_the_cluster() -> list[psutil.Process]:
    """Every process of a Ray instance at the port."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if f":{PORT}" in " ".join(process.info["cmdline"] or [])
    ]


@pytest.mark.slow
def test_the_autoscaler_is_asked_for_a_worker_and_it_is_trained_on(
    head: str, tmp_path: Path
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    done = subprocess.run(
        [sys.executable, "-m", "search.run", str(space), "--address", head,
         "--output", str(tmp_path / "runs"), "--name", "grown"],
        env=os.environ | OPEN, cwd=tmp_path, capture_output=True, text=True, timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 trials on 1 lane of 1 worker with 1 CPU" in done.stdout
    assert "waiting for 1 workers with 1 CPU: 0 there" in done.stdout
    assert "[2/2] trial" in done.stdout
    assert (tmp_path / "runs" / "grown" / "best" / "modules.json").exists()
