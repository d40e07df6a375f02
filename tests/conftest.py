"""What all tests share: no test reads or fills the cache of the person who runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("ISOGLOSS_CACHE")
    os.environ["ISOGLOSS_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["ISOGLOSS_CACHE"]
    else:
        os.environ["ISOGLOSS_CACHE"] = before
