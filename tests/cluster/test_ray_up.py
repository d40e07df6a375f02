"""``ray up`` with machines that are reached by ssh, the search by ``ray exec``, ``ray down``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from search.events.journal import read_journal
from search.events.outcomes import Outcomes
from tests.cluster.machines import ROOT, SPACE
from tests.cluster.ssh import SshMachine, ssh_machines, why_not

WORKERS = 2
FILE = "docs/clusters/local.yaml"
# What sets a real machine up, from the package index: here the environment is there.
INSTALLS = ("  - test -x ~/isogloss-env/bin/pip ||", "  - cd ~/isogloss && pip install")
SEARCH = SPACE + "lane: {cpus: 1}\nsearch: {trials: 4, concurrency: 2, finalists: null}\n"


def check_out(client: SshMachine, head: SshMachine, workers: list[SshMachine]) -> None:
    """Put a checkout into the home of a client, and fill in the file's places."""
    checkout = client.home / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", ".venv", ".*cache", "runs")
    for name in ("components", "search", "spaces", "docs"):
        shutil.copytree(ROOT / name, checkout / name, ignore=ignored)
    for name in ("pyproject.toml", "constraints.txt", "README.md"):
        shutil.copy(ROOT / name, checkout / name)
    (checkout / "spaces" / "small.yaml").write_text(SEARCH)
    text = (checkout / FILE).read_text()
    for place, machine in zip(("HEAD", "WORKER1", "WORKER2"), (head, *workers), strict=True):
        assert f"{place}-REPLACE" in text
        text = text.replace(f"{place}-REPLACE", machine.address)
    lines = text.replace("USER-REPLACE", "root").splitlines()
    kept = [line for line in lines if not line.startswith(INSTALLS)]
    assert len(kept) == len(lines) - len(INSTALLS)
    (checkout / FILE).write_text("\n".join(kept))
    for machine in (head, *workers):
        (machine.home / "isogloss-env").symlink_to(Path(sys.executable).parent.parent)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_what_the_file_has_one_type() -> None:
    with ssh_machines(2 + WORKERS) as (client, head, *workers):
        check_out(client, head, workers)
        once = "cd checkout; export RAY_UP_enable_autoscaler_v2=0; "
        client.run(f"{once} ray get-auth-token --generate && chmod 600 ~/.ray/auth_token", 120)
        client.run(f"{once} ray up --yes --no-config-cache {FILE}", 600)
        search = "cd isogloss && python -m search.run spaces/small.yaml --address auto --name up"
        said = client.run(f"{once} ray exec {FILE} '{search}'", 900)
        assert "best model: " in said, said
        folder = head.home / "isogloss" / "runs" / "up"
        outcomes = Outcomes(read_journal(folder / "journal.jsonl"))
        assert outcomes.count("finished") + outcomes.count("stopped") == 4, said
        assert (folder / "best" / "modules.json").exists()
        for worker in workers:
            worker.run("grep -rlq LaneWorker /tmp/ray/session_latest/logs", 60)  # it has trained
        client.run(f"{once} ray down --yes {FILE}", 300)
        assert "gcs_server" not in head.run("ps ax", 60)
