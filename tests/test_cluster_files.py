"""The files of docs/clusters against what reads them, as far as that is at hand."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "clusters"


def read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def test_ray_accepts_the_file_of_ones_own_machines(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = yaml.safe_load(read("local.yaml"))
    validate_config(prepare_config(config))
    for local in config["file_mounts"].values():
        assert local.startswith("~") or (ROOT / local).exists(), local
    for kind in ("head", "worker"):
        (start,) = [line for line in config[f"{kind}_start_ray_commands"] if " start " in line]
        assert "RAY_AUTH_MODE=token" in start
        done = subprocess.run(["bash", "-n", "-c", start], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_batch_script_is_valid_shell_and_its_options_are_ours() -> None:
    done = subprocess.run(["bash", "-n", str(FOLDER / "slurm.sh")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    options = re.findall(r"(?<=search\.run).*", read("slurm.sh"))
    assert set(re.findall(r"--[\w-]+", options[0])) == {"--address", "--timeout"}


def test_the_image_holds_what_the_package_needs() -> None:
    text = read("Dockerfile")
    for copied in ("components", "search", "spaces", "pyproject.toml", "constraints.txt"):
        assert re.search(rf"^COPY .*\b{re.escape(copied)}\b", text, re.MULTILINE), copied
        assert (ROOT / copied).exists()


def test_the_job_asks_for_gpu_workers_and_keeps_its_runs() -> None:
    claim, job = yaml.safe_load_all(read("rayjob.yaml"))
    cluster = job["spec"]["rayClusterSpec"]
    pinned = re.search(r"^ray==([\d.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned and cluster["rayVersion"] == pinned[1]
    assert cluster["authOptions"] == {"mode": "token"}
    head = cluster["headGroupSpec"]["template"]["spec"]
    (volume,) = head["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (mount,) = head["containers"][0]["volumeMounts"]
    assert f"--output {mount['mountPath']}" in job["spec"]["entrypoint"]
    (group,) = cluster["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
