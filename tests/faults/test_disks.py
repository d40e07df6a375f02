"""A full disk ends a search in one sentence; after room is made, it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.disks import rows


@pytest.mark.slow
def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    for row in rows(tmp_path, 1):
        if row.found.startswith("not tried"):
            pytest.skip(row.found)
        assert row.is_sound, row.found
