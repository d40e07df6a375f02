"""Leaving a cluster: nothing of Ray's is freed while it shuts down."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest
import ray

from search.cluster.connection import leave

# References in cycles, and a thread that allocates: Python collects garbage in it at any moment.
LEAVING = """
import gc, threading
import ray
from search.cluster.connection import cluster

def allocate():
    while True:
        kept = [{} for _ in range(1000)]
        for one in kept:
            one["all"] = kept

with cluster(None, 1, 0):
    gc.disable()
    for _ in range(20_000):
        one = {"reference": ray.put(1)}
        one["cycle"] = one
    del one
    gc.set_threshold(100_000, 1, 1)
    threading.Thread(target=allocate, daemon=True).start()
    gc.enable()
print("still there")
"""


class Cycle:
    def __init__(self) -> None:
        self.itself = self


def test_garbage_is_collected_before_ray_shuts_down_and_none_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    garbage = weakref.ref(Cycle())
    seen = []
    monkeypatch.setattr(ray, "shutdown", lambda: seen.append((garbage(), gc.isenabled())))
    leave()
    assert seen == [(None, False)]
    assert gc.isenabled()


@pytest.mark.slow
def test_a_thread_that_collects_garbage_does_not_end_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.stdout.endswith("still there\n"), done.stderr
