"""Where run folders lie when Ray runs a command as a job."""

from __future__ import annotations

from pathlib import Path

# Ray unpacks the working directory of a job below a folder of this name, in that of its session,
# and deletes it with the session, or sooner.
PACKAGES = "working_dir_files"


def folder_that_lasts(start: Path) -> Path:
    """Return the folder that relative run folders are meant from.

    Args:
        start: the working directory.

    Returns:
        The same or, where it belongs to a job of Ray (``ray job submit --working-dir``), the home.
    """
    return Path.home() if PACKAGES in start.parts else start
