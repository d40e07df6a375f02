"""What a person names -> the files to read."""

from __future__ import annotations

import glob
import re
import stat
from collections.abc import Sequence
from os.path import expanduser
from pathlib import Path

from search.data.reading.interface import Request
from search.settings.problems import InputError

TEXT_FORMATS = (".csv", ".tsv", ".jsonl", ".json")
FORMATS = (".parquet", *TEXT_FORMATS)
SPLIT_WORDS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation",
    "val": "validation", "dev": "validation", "test": "test", "eval": "test",
}  # fmt: skip


def format_of(file: Path) -> str:
    """The format that a file's name tells, without ``.gz``; empty for none."""
    name = file.name.lower().removesuffix(".gz")
    return next((suffix for suffix in FORMATS if name.endswith(suffix)), "")


def is_pattern(name: str) -> bool:
    """Whether a name is a glob, and not that of a file with such characters."""
    return glob.has_magic(name) and not exists(Path(expanduser(name)))


def exists(path: Path) -> bool:
    """`Path.exists`, also of names that no file can have."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def matches(pattern: str) -> list[Path]:
    """The files that a glob matches, in the order of their names."""
    return [Path(found) for found in sorted(glob.glob(expanduser(pattern)))]


def find(names: Sequence[str], request: Request) -> list[Path]:
    """The files of paths, folders and globs.

    Raises:
        InputError: one names nothing that can be read.
    """
    files: list[Path] = []
    for name in names:
        path = Path(expanduser(name))
        if is_pattern(name):
            found = matches(name)
            if not found:
                raise request.error(f"is {name!r}, a pattern that no file matches")
            for match in found:
                files += _folder(match, request) if match.is_dir() else [match]
        elif exists(path) and path.is_dir():
            files += _folder(path, request)
        else:
            files.append(path)
    for file in files:
        check_file(file, request)
        if not format_of(file):
            raise request.error(
                f"is {str(file)!r}; a file must end in one of {', '.join(FORMATS)} (text formats "
                f"also with .gz), and the two sides of a Moses corpus must be given together, as "
                f"{{en: a.en, de: a.de}}"
            )
    return files


def check_file(file: Path, request: Request) -> None:
    """Check that a file is there and can be read.

    Raises:
        InputError: it is not.
    """
    name = str(file)
    try:
        mode = file.stat().st_mode
        if stat.S_ISDIR(mode):
            raise request.error(f"is {name!r}, which is a folder; it must be a file")
        if not stat.S_ISREG(mode):
            raise request.error(f"is {name!r}, which is a device or pipe; it must be a file")
        with file.open("rb"):
            pass
    except FileNotFoundError as error:
        if file.is_symlink():
            target = str(file.readlink())
            raise request.error(
                f"is {name!r}, a symbolic link to {target!r}, which does not exist"
            ) from error
        raise request.error(f"is {name!r}, which does not exist") from error
    except OSError as error:
        raise request.error(f"{name!r} cannot be read: {error.strerror}") from error
    except InputError:
        raise
    except ValueError as error:  # of pathlib
        raise request.error("holds a NUL character; it must be the name of a file") from error


def _folder(folder: Path, request: Request) -> list[Path]:
    """The files of a folder; they must be of one format, and of one split."""
    try:
        found = sorted(p for p in folder.rglob("*") if not p.name.startswith(".") and format_of(p))
    except OSError as error:
        raise request.error(f"{str(folder)!r} cannot be read: {error.strerror}") from error
    found = [p for p in found if p.name != "dataset_infos.json"]
    if not found:
        raise request.error(
            f"is the folder {str(folder)!r}, which holds no file that ends in one of "
            f"{', '.join(FORMATS)}"
        )
    formats = sorted({format_of(file) for file in found})
    if len(formats) > 1:
        raise request.error(
            f"is the folder {str(folder)!r}, which holds files of several formats, "
            f"{', '.join(formats)}; name those to read, such as '{folder}/*{formats[0]}'"
        )
    splits: dict[str, str] = {}
    for file in found:
        word = re.split(r"[-_.]", file.name)[0].lower()
        parts = [word, *(part.lower() for part in file.relative_to(folder).parts[:-1])]
        split = next((SPLIT_WORDS[part] for part in parts if part in SPLIT_WORDS), "")
        splits.setdefault(split, str(file))
    if len(splits) > 1 and splits.keys() - {""}:
        raise request.error(
            f"is the folder {str(folder)!r}, which holds several splits (such as "
            f"{' and '.join(repr(Path(f).name) for f in list(splits.values())[:2])}); name the "
            f"files of one, such as '{folder}/train*'"
        )
    return found
