"""One writer: the run folder is locked by the command that writes to it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from search.settings.problems import InputError, shown

LOCK, HOLDER = "run.lock", "holder.json"


@contextmanager
def hold(folder: Path) -> Iterator[str]:
    """Lock a run folder. The system frees the lock of a process that has died.

    Yields:
        Who left the folder without freeing it; empty where nobody did.

    Raises:
        InputError: another process holds it.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        holder = _describe(folder) or "another process"
        raise InputError(
            f"the run folder {folder} is in use by {holder}; it must end before another command "
            f"writes there"
        ) from error
    try:
        left = _describe(folder)
        record = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "start": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        (folder / HOLDER).write_text(json.dumps(record) + "\n", encoding="utf-8")
        yield left
    finally:
        for name in (HOLDER, LOCK):  # in this order: without the lock, the holder is another one
            (folder / name).unlink(missing_ok=True)
        lock.release()


def read_holder(folder: Path) -> str:
    """What stands in a run folder of who writes to it; empty where nobody does."""
    try:
        return (folder / HOLDER).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _describe(folder: Path) -> str:
    """Who holds a folder, or held it last; empty where nobody has left a record."""
    try:
        record = json.loads(read_holder(folder))
        return shown(f"process {record['pid']} on {record['host']} (since {record['start']})", 300)
    except (ValueError, LookupError, TypeError):
        return ""
