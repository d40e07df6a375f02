"""``run.json``: what was run, by which command, with which versions and data."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.runtime.files import replace_text
from search.settings.problems import InputError, Problem, shown

if TYPE_CHECKING:
    from search.data.split import Split
    from search.runs.prepare import Prepared

RECORD = "run.json"
PACKAGES = ("isogloss", "ray", "torch", "transformers", "peft", "optuna", "datasets", "pyarrow",
            "sentence-transformers")  # fmt: skip
# What a search that goes on may be given anew: how much of it, and on what.
CHANGEABLE = (
    "search.trials", "search.concurrency", "search.finalists", "search.keep", "search.tensorboard",
    "lane", "cache",
)  # fmt: skip
_ABSENT = object()


@dataclass(frozen=True)
class RunRecord:
    """What a run folder says of its run.

    Attributes:
        folder: the run folder.
        space: the space file's tree, with the settings of the command line.
        directory: the working directory of the command, which relative paths count from.
        versions: package -> version.
        data: part -> SHA-256 of its sentences.
        trials: how many there were to be.
        checkpoints: where they are, as ``search.checkpoints``.
        plain: all that the file holds.
    """

    folder: Path
    space: dict[str, object]
    directory: str
    versions: dict[str, str | None]
    data: dict[str, str]
    trials: int
    checkpoints: str | None
    plain: dict[str, Any]

    def enter_directory(self) -> None:
        """Change to the working directory of the command, where it is still there."""
        if Path(self.directory).is_dir():
            os.chdir(self.directory)


def read_record(folder: Path) -> RunRecord:
    """Read the record of a run.

    Raises:
        InputError: it is not the folder of a run, or its record is damaged.
    """
    file = folder / RECORD
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        what = f"{folder} is no run folder" if folder.is_dir() else f"there is no folder {folder}"
        raise InputError(f"{what}; it must be one that a search has made, with {RECORD}") from error
    except NotADirectoryError as error:
        raise InputError(
            f"{folder} is a file; it must be a folder that a search has made"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {shown(error, 200)}") from error
    try:
        parts = ("train", "validation", *["test"] * ("test" in plain["data"]))
        data = {part: plain["data"][part]["sha256"] for part in parts}
        return RunRecord(
            folder, dict(plain["space"]), str(plain["directory"]), dict(plain["versions"]), data,
            int(plain["trials"]), plain["config"]["search"].get("checkpoints"), plain,
        )  # fmt: skip
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{file} is no record of a run: another version wrote it, or it is damaged; it must "
            f"be put back, or a new search started"
        ) from error


def write_record(folder: Path, prepared: Prepared) -> None:
    """Write what it takes to know, and to repeat, what was run."""
    from search.space.run_config import FIXED_SECTIONS

    _write(
        folder / RECORD,
        {
            "command": _command(),
            "started": _now(),
            "directory": str(Path.cwd()),
            "trials": prepared.trials,
            "space": prepared.space.source.tree,
            "config": prepared.config.model_dump(include=set(FIXED_SECTIONS)),
            "versions": versions(),
            "data": digests(prepared.split) | {"health": prepared.split.health.plain()},
        },
    )


def rewrite_record(record: RunRecord, prepared: Prepared) -> None:
    """Add the command that goes on with a run, and what it changes."""
    from search.space.run_config import FIXED_SECTIONS

    resumed = [*record.plain.get("resumed", []), {"command": _command(), "started": _now()}]
    changed = {
        "trials": prepared.trials,
        "space": prepared.space.source.tree,
        "config": prepared.config.model_dump(include=set(FIXED_SECTIONS)),
        "resumed": resumed,
    }
    _write(record.folder / RECORD, record.plain | changed)


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that a result depends on."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str | None:
    """None for one that is not installed: the commands also run from a folder of the sources."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def digests(split: Split) -> dict[str, Any]:
    """Rows, sentences and SHA-256 of each part of the data."""
    return {
        part: {
            "rows": corpus.rows,
            "sentences": dict(zip(corpus.languages, corpus.counts, strict=True)),
            "sha256": corpus.digest,
        }
        for part, corpus in {
            "train": split.train,
            "validation": split.validation,
            "test": split.test,
        }.items()
        if corpus is not None
    }


def space_differences(record: RunRecord, tree: Mapping[str, object]) -> Iterator[Problem]:
    """Settings that differ from those of a run, of those that may not."""
    from search.settings.trial import flatten

    then, now = flatten(record.space), flatten(tree)
    for key in dict.fromkeys([*then, *now]):
        was, is_now = then.get(key, _ABSENT), now.get(key, _ABSENT)
        free = any(key == name or key.startswith(f"{name}.") for name in CHANGEABLE)
        if was != is_now and not free:
            message = f"is {_shown(is_now)}, but {_shown(was)} in the run"
            yield Problem("", 0, key, f"{message}; a run goes on with the space it began with")


def version_differences(record: RunRecord) -> Iterator[Problem]:
    """Packages of another version than that of a run."""
    now = versions()
    for name in dict.fromkeys([*record.versions, *now]):
        was, is_now = record.versions.get(name), now.get(name)
        if was != is_now:
            message = f"is of version {is_now} here, but the run was made with {was}"
            yield Problem("", 0, name, f"{message}; it must be that one, as scores may differ")


def data_differences(record: RunRecord, split: Split) -> Iterator[Problem]:
    """Parts of the data that are no longer those of a run."""
    for part, found in digests(split).items():
        if found["sha256"] != record.data.get(part):
            was = record.plain["data"].get(part, {}).get("rows")
            rows = f"{found['rows']} rows" + (f" instead of {was}" if was != found["rows"] else "")
            message = (
                f"holds other sentences than in the run ({rows}); scores could not be compared"
            )
            yield Problem("", 0, f"data.{part}", message)


def _shown(value: object) -> str:
    return "not set" if value is _ABSENT else shown(json.dumps(value, ensure_ascii=False))


def program(module: str) -> list[str]:
    """What to type for a command: ``isogloss`` where that was typed for this one.

    Args:
        module: of the command, such as ``search.run``.
    """
    this = Path(sys.argv[0])
    if this.stem == "isogloss" or this.parts[-2:] == ("search", "__main__.py"):
        return ["isogloss", module.rpartition(".")[2].replace("run", "search")]
    return ["python", "-m", module]


def _command() -> str:
    if program("")[0] == "isogloss":
        return shlex.join(["isogloss", *sys.argv[1:]])
    return shlex.join([*program(f"search.{Path(sys.argv[0]).stem}"), *sys.argv[1:]])


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _write(file: Path, plain: Mapping[str, object]) -> None:
    replace_text(file, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
