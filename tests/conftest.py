"""What all tests share: threads, a cache of their own, and who may run beside whom."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Before torch is imported, and for the processes that tests start: small tensors gain nothing by
# more threads, and tests that run side by side would take the cores from each other.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Share the tests out among processes, where there are several (`pytest -n 2`).

    A file stays together, since its fixtures are made once a process. All files that start Ray
    stay together, so that there is one instance at a time; they take longest and so come first.
    """
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        ray = item.get_closest_marker("ray") is not None
        group = "ray" if ray else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
    # The files of components are small, so that they even out who is done when.
    items.sort(
        key=lambda item: (
            item.get_closest_marker("ray") is None,
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
