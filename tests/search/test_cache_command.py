"""The command that shows and empties the cache."""

from __future__ import annotations

import hashlib
import os
import time
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from components.base import Base
from components.ragged import States
from search.cache import app
from search.data.tokens import TokenisedCorpus
from search.features import FeatureSet
from search.features import shards as module
from search.runtime.store import FOLDER_VARIABLE, Store

HOUR = 3600.0
ODD = "/models/[bold]x: states at layer 2"  # what a careless table would take for an instruction
AGES = [(ODD, 50.0), (ODD, 30.0), ("tiny: statistics at the end", 200.0), ("new", 1.0)]


def run(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(app, [str(part) for part in arguments], env=environment)


def said(*arguments: str | Path, **environment: str) -> str:
    result = run(*arguments, **environment)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Files of several sizes, last used so many hours ago."""
    made = Store(tmp_path / "cache", 1e9)
    for index, (what, hours) in enumerate(AGES):
        key = hashlib.sha256(str(index).encode()).hexdigest()
        tensors = {"a": torch.zeros(100_000 * (index + 1))}
        made.build(key, what, partial(dict, tensors), wait=True)
        (file,) = made.folder.glob(f"*/{key}.arrow")
        os.utime(file, (time.time() - hours * HOUR,) * 2)
    return made


def test_list(store: Store) -> None:
    head, *rows, total = said("list", "--folder", store.folder).splitlines()
    assert head.split() == ["what", "files", "MB", "last", "used"]
    got = [row.rsplit(maxsplit=4) for row in rows]
    used = [datetime.fromtimestamp(time.time() - hours * HOUR) for hours in (200, 30, 1)]
    assert [row[:3] for row in got] == [
        [" tiny: statistics at the end", "1", "1.2"],
        [f" {ODD}", "2", "1.2"],
        [" new", "1", "1.6"],
    ]
    for row, when in zip(got, used, strict=True):
        shown = datetime.strptime(" ".join(row[3:]), "%Y-%m-%d %H:%M")
        assert abs((shown - when).total_seconds()) < 120
    assert total == f"4 files, 4.0 MB in {store.folder}"


def test_nothing_is_left_out_of_a_long_name(store: Store) -> None:
    key = hashlib.sha256(b"long").hexdigest()
    store.build(key, "x" * 300, lambda: {"a": torch.zeros(1)}, wait=True)
    out = said("list", "--folder", store.folder)
    assert out.count("x") - str(store.folder).count("x") == 300 + ODD.count("x")
    assert "…" not in out


def test_list_of_nothing(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert said("list", "--folder", empty) == f"0 files, 0.0 MB in {empty}\n"
    nowhere = tmp_path / "nowhere"
    for command in ("list", "clear"):
        assert str(nowhere) in said(command, **{FOLDER_VARIABLE: str(nowhere)})
    assert not nowhere.exists()


def test_clear(store: Store) -> None:
    before = said("list", "--folder", store.folder)
    for unused, left in (("10d", 4), ("5d", 3), ("40h", 2)):
        gone = len(store.entries()) - left
        out = said("clear", "--folder", store.folder, "--unused", unused)
        assert out.startswith(f"{gone} files, ") and out.endswith(f"removed from {store.folder}\n")
        assert len(store.entries()) == left
    assert {entry.what for entry in store.entries()} == {ODD, "new"}
    assert said("list", "--folder", store.folder) != before
    assert said("clear", **{FOLDER_VARIABLE: str(store.folder)}).startswith("2 files, 2.4 MB")
    assert store.entries() == []
    assert [path.name for path in store.folder.rglob("*") if path.is_file()] == ["room.lock"]
    assert said("clear", "--folder", store.folder).startswith("0 files, 0.0 MB")


def test_units_of_time(store: Store) -> None:
    """The file used 200 hours ago is older than a week and eight days, not than two weeks."""
    for unused, gone in (("2w", 0), ("9d", 0), ("201h", 0), ("1w", 1)):
        out = said("clear", "--folder", store.folder, "--unused", unused)
        assert out.startswith(f"{gone} files")


@pytest.mark.parametrize("unused", ["", "7", "d", "7y", "-1d", "1.5d", "7d ", "7 d", "1d2h"])
def test_a_bad_time_is_one_sentence(store: Store, unused: str) -> None:
    result = run("clear", "--folder", store.folder, f"--unused={unused}")
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: --unused is {unused!r}; it must be")
    assert len(store.entries()) == len(AGES)


@pytest.mark.parametrize("command", ["list", "clear"])
def test_a_bad_folder_is_one_sentence(tmp_path: Path, command: str) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, tmp_path / "nowhere"):
        result = run(command, "--folder", folder)
        assert (result.exit_code, result.stdout) == (2, "")
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: --folder is ") and str(folder) in line
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_removed_is_one_sentence(store: Store) -> None:
    """A folder stands where a file should: not even root can unlink it."""
    entry = store.entries()[0]
    entry.file.unlink()
    entry.file.mkdir()
    result = run("clear", "--folder", store.folder)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and entry.file.name in line


def test_after_clear_a_running_search_goes_on(
    base: Base,
    corpora: tuple[TokenisedCorpus, TokenisedCorpus],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SHARD_TOKENS", 200)
    corpus, store = corpora[1], Store(tmp_path, 1e9)
    every = corpus.present()
    features = FeatureSet(base, corpus, 2, None, store, "digest", every, "tiny")
    some = every[:5]
    features(some)
    count = len(store.entries())
    assert 0 < count < len(features._starts) - 1  # it has not met every sentence
    assert said("clear", "--folder", tmp_path).startswith(f"{count} files")
    assert store.entries() == []
    with torch.no_grad():
        want = base.run_until(corpus.tokens(every), 2)
    got = features(every)
    assert isinstance(got, States)
    assert torch.equal(got.values_TD, want.values_TD)
    # What it had in memory it still has.
    assert len(store.entries()) == len(features._starts) - 1 - count
