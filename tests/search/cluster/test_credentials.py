"""Keys of the user's never reach what Ray writes down."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
from ray import tune
from ray.tune.execution import class_cache

from search.cluster.connection import cluster
from search.cluster.credentials import keep_out_of_runtime_env

SECRET = "not-a-key-but-it-must-not-be-seen"
NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN",
         "HF_TOKEN")  # fmt: skip


class Idle(tune.Trainable):  # type: ignore[misc]  # Ray ships no types
    """A trial that does nothing."""

    def step(self) -> dict[str, bool]:
        return {"done": True}


@pytest.fixture
def as_installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Ray's own list of variables, as it was before any search ran in this process."""
    names = {*class_cache.ENV_VARS_TO_PROPAGATE, *(n for n in NAMES if n.startswith("AWS_"))}
    monkeypatch.setattr(class_cache, "ENV_VARS_TO_PROPAGATE", set(names))
    return names


def test_nothing_but_keys_is_kept_from_a_trial_actor(as_installed: set[str]) -> None:
    keep_out_of_runtime_env()
    assert {n for n in as_installed if not n.startswith("AWS_")} == (
        class_cache.ENV_VARS_TO_PROPAGATE
    )


def test_no_log_of_ray_holds_a_key(
    as_installed: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, f"{SECRET}-{name}")
    # Said in the test itself, so that it can fail: this variable does reach the log.
    seen = "a-variable-that-is-passed-on"
    monkeypatch.setenv("PASSED_ON", seen)
    class_cache.ENV_VARS_TO_PROPAGATE.add("PASSED_ON")
    keep_out_of_runtime_env()
    with cluster(None, 1, 0):
        logs = Path(ray._private.worker._global_node.get_logs_dir_path())
        tune.Tuner(Idle, run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0)).fit()
    texts = {file.name: file.read_bytes() for file in logs.rglob("*") if file.is_file()}
    assert [name for name, text in texts.items() if seen.encode() in text]
    assert [name for name, text in texts.items() if SECRET.encode() in text] == []
