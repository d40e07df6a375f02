"""A search whose lanes cannot start ends and says why, in place of failing all its trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.searches import ended, new_search, run


@pytest.mark.slow  # three trials lose their lanes, each as often as it may
def test_a_search_without_a_lane_that_starts_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "none0")
    lanes = ("--set", "lane.workers=2", "--set", "lane.cpus=1")
    status, printed = run(new_search(tmp_path, "lanes", *lanes))
    assert status == 2  # nothing could be trained
    assert "Traceback" not in printed
    assert "error: 3 trials in a row have lost their lanes, the last by RuntimeError: " in printed
    assert "Unable to find address for: none0" in printed
    assert "--resume" in printed
    assert ended(tmp_path / "lanes") == {0, 1}  # the third is not to blame, and can go on
