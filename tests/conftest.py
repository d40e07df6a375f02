"""What all tests share: threads, a cache of their own, and who may run beside whom."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Before torch is imported, and for the processes that tests start: small tensors gain nothing by
# more threads, and tests that run side by side would take the cores from each other.
os.environ["OMP_NUM_THREADS"] = "1"
# Ray starts workers at niceness 15, so that the tests of another process would starve them.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112


# What starts Ray, of which there is to be one instance at a time.
RAY = ("tests/faults/", "tests/search/cluster/test_lane.py", "tests/search/test_search.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Share the tests out among processes, where there are several (`pytest -n 2`).

    A file stays together, since its fixtures are made once a process; so do all that start Ray.
    """

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "ray" if file.startswith(RAY) else file

    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest and end with small files, so that all are done together."""
    if hasattr(config, "workerinput"):
        items.sort(
            key=lambda item: (
                not item.nodeid.startswith(RAY),
                item.nodeid.startswith("tests/components/"),
            )
        )


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the cache of the person who runs it."""
    before = os.environ.get("ISOGLOSS_CACHE")
    os.environ["ISOGLOSS_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["ISOGLOSS_CACHE"]
    else:
        os.environ["ISOGLOSS_CACHE"] = before
