"""The store: whole files or none, one computation a key, a limited size."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor

from search.runtime.store import FOLDER_VARIABLE, Entry, Store, default_folder

GB = 1e9
ROOT = Path(__file__).parents[3]


def key(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def of(seed: int, rows: int = 50) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"a": torch.randn(rows, 3, generator=generator), "n": torch.tensor([seed])}


def built(store: Store, name: object, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = store.build(key(name), f"of {name}", lambda: tensors, wait=True)
    assert found is not None
    return found


def never() -> dict[str, Tensor]:
    raise AssertionError("it is stored")


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return list(left) == list(right) and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name])
        for name in right
    )


def files(store: Store) -> set[str]:
    return {path.name for path in store.folder.rglob("*") if path.is_file()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "a" / "cache", GB)


KINDS: dict[str, Tensor] = {
    "float32": torch.randn(4, 5),
    "bfloat16": torch.randn(7, 3).to(torch.bfloat16),
    "float16": torch.randn(3).to(torch.float16),
    "int64": torch.tensor([[2**62, -1], [0, 3]]),
    "uint8": torch.arange(11, dtype=torch.uint8),
    "bool": torch.tensor([True, False, True]),
    "scalar": torch.tensor(2.5),
    "no rows": torch.empty(0, 5),
    "no columns": torch.empty(4, 0, dtype=torch.int64),
    "transposed": torch.randn(5, 4).T,
    "not finite": torch.tensor([float("nan"), float("inf"), -0.0]),
}


def test_what_is_stored_is_what_was_given(store: Store) -> None:
    assert store.load(key("x")) is None
    for got in (built(store, "x", KINDS), Store(store.folder, GB).load(key("x"))):
        assert got is not None
        assert list(got) == list(KINDS)
        for name, want in KINDS.items():
            assert (got[name].dtype, got[name].shape) == (want.dtype, want.shape), name
            bits, expected = (t.contiguous().flatten().view(torch.uint8) for t in (got[name], want))
            assert torch.equal(bits, expected), name


def test_a_weight_that_trains_is_stored_as_its_values(store: Store) -> None:
    weight = torch.nn.Parameter(torch.randn(3))
    got = built(store, "w", {"w": weight})["w"]
    assert torch.equal(got, weight) and not got.requires_grad


def test_nothing_is_computed_twice(store: Store) -> None:
    built(store, "x", of(1))
    assert store.build(key("x"), "again", never, wait=True) is not None
    assert Store(store.folder, GB).build(key("x"), "again", never, wait=False) is not None
    (entry,) = store.entries()
    assert entry == Entry(entry.file, entry.file.stat().st_size, entry.file.stat().st_mtime, "of x")
    assert entry.size > 50 * 3 * 4


def test_keys_are_kept_apart(store: Store) -> None:
    for seed in range(20):
        built(store, seed, of(seed))
    for seed in range(20):
        got = store.load(key(seed))
        assert got is not None and same(got, of(seed))


def test_a_failed_computation_leaves_nothing(store: Store) -> None:
    with pytest.raises(KeyError):
        store.build(key("x"), "x", lambda: dict[str, dict[str, Tensor]]()["x"], wait=True)
    assert store.load(key("x")) is None
    assert same(built(store, "x", of(1)), of(1))


def test_any_damage_is_noticed(store: Store) -> None:
    """Every byte of a small file, turned over in one bit, and every length it may be cut to."""
    tensors = {"a": torch.arange(6.0).view(2, 3), "n": torch.tensor([7])}
    built(store, "x", tensors)
    (entry,) = store.entries()
    whole = entry.file.read_bytes()
    noticed = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random.Random(place).randrange(8)
        _swap(entry.file, bytes(damaged))
        got = store.load(key("x"))
        noticed += got is None
        assert got is None or same(got, tensors), place
    assert noticed > len(whole) / 4  # the rest is padding, or says what nobody asks for
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        _swap(entry.file, whole[:length])
        assert store.load(key("x")) is None, length
        assert [e.what for e in store.entries()] == ["damaged"]
    assert same(built(store, "x", tensors), tensors)  # computed anew
    assert store.load(key("x")) is not None


def _swap(file: Path, data: bytes) -> None:
    """Replace, as a mapped file must not shrink."""
    fresh = file.with_suffix(".test")
    fresh.write_bytes(data)
    fresh.replace(file)


def test_the_longest_unused_go_first_and_the_limit_holds(tmp_path: Path) -> None:
    one = Store(tmp_path / "one", GB)
    built(one, 0, of(0, rows=1000))
    limit = 4.5 * one.entries()[0].size
    store = Store(tmp_path / "cache", limit)
    for seed in range(4):
        built(store, seed, of(seed, rows=1000))
        _age(store, seed, 100 - seed)
    assert store.load(key(0)) is not None  # used just now
    built(store, 4, of(4, rows=1000))
    assert _names(store) == ["of 2", "of 3", "of 0", "of 4"]
    _age(store, 0, 50)
    _age(store, 4, 40)
    built(store, 5, of(5, rows=2000))
    assert _names(store) == ["of 0", "of 4", "of 5"]
    assert sum(entry.size for entry in store.entries()) <= limit
    # What can never fit is given, but drives nothing else out.
    assert same(built(store, 6, of(6, rows=5000)), of(6, rows=5000))
    assert _names(store) == ["of 0", "of 4", "of 5"]
    assert not any(name.endswith(".new") for name in files(store))


def test_what_was_used_since_the_search_began_stays(tmp_path: Path) -> None:
    """Passes over more than the limit find, each time, what the first one has stored."""
    limit = 3.5 * 12_000
    store = Store(tmp_path, limit)
    for seed in (8, 9):
        built(store, seed, of(seed, rows=1000))
        _age(store, seed, 100)
    computed: list[int] = []

    def compute(seed: int) -> dict[str, Tensor]:
        computed.append(seed)
        return of(seed, rows=1000)

    for _ in range(3):
        for seed in range(5):
            got = store.build(key(seed), f"of {seed}", partial(compute, seed), wait=True)
            assert got is not None and same(got, of(seed, rows=1000))
        assert sorted(_names(store)) == ["of 0", "of 1", "of 2"]
    assert computed == [0, 1, 2, 3, 4, 3, 4, 3, 4]
    assert not any(name.endswith(".new") for name in files(store))
    # A second lane of the search keeps them too; the next search does not.
    began = time.time()
    assert Store(tmp_path, limit, since=began - 60).keep(key(5), "of 5", of(5, rows=1000)) is None
    for seed in range(3):
        _age(store, seed, 10 - seed)
    assert Store(tmp_path, limit, since=began).keep(key(5), "of 5", of(5, rows=1000)) is not None
    assert _names(store) == ["of 1", "of 2", "of 5"]


def test_what_fits_is_known_before_it_is_computed(tmp_path: Path) -> None:
    store = Store(tmp_path, 30_000)
    assert store.fits(30_000) and not store.fits(30_001)
    built(store, 0, of(0, rows=1000))
    (entry,) = store.entries()
    assert store.fits(30_000 - entry.size) and not store.fits(30_001 - entry.size)
    _age(store, 0, 100)
    assert store.fits(30_000) and not store.fits(30_001)
    assert not Store(tmp_path, 1e30).fits(1e29)  # no disk has so much


def test_a_reader_maps_and_does_not_copy(store: Store) -> None:
    built(store, "x", {"a": torch.ones(20_000_000)})
    first, second = (store.load(key("x")) for _ in range(2))
    before = psutil.Process().memory_full_info()
    third = store.load(key("x"))
    after = psutil.Process().memory_full_info()
    # Pages that several readings share are not private; a copy would be 80 MB.
    assert after.uss - before.uss < 8e6
    assert first is not None and second is not None and third is not None
    assert first["a"].sum() == second["a"].sum() == third["a"].sum() == 20_000_000


def test_an_evicted_file_stays_readable_for_whoever_has_it(tmp_path: Path) -> None:
    store = Store(tmp_path, 20_000)
    first = built(store, 0, of(0, rows=1000))
    _age(store, 0, 100)
    for seed in range(1, 5):
        built(store, seed, of(seed, rows=1000))
    assert store.load(key(0)) is None
    assert same(first, of(0, rows=1000))


def _age(store: Store, name: object, seconds: float) -> None:
    (file,) = store.folder.glob(f"*/{key(name)}.arrow")
    os.utime(file, (time.time() - seconds,) * 2)


def _names(store: Store) -> list[str]:
    """Longest unused first."""
    return [entry.what for entry in store.entries()]


def test_clear_removes_what_is_a_stores_and_nothing_else(store: Store) -> None:
    for seed in range(3):
        built(store, seed, of(seed))
        _age(store, seed, 1000 * (seed + 1))
    others = [store.folder / "ab" / "poetry.lock", store.folder / "ab" / "x.arrow",
              store.folder / "sub" / f"{key(0)}.arrow", store.folder / "notes.txt"]  # fmt: skip
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_text("mine")
    kept = {other.name for other in others} | {"room.lock"}
    gone = store.clear(unused_since=time.time() - 1500)
    assert [entry.what for entry in gone] == ["of 2", "of 1"]
    assert files(store) == kept | {f"{key(0)}.arrow", f"{key(0)}.lock"}
    assert [entry.what for entry in store.clear()] == ["of 0"]
    assert files(store) == kept
    assert store.clear() == []


def test_clear_removes_damaged_files_too(store: Store) -> None:
    built(store, 0, of(0))
    (entry,) = store.entries()
    _swap(entry.file, b"")
    assert [gone.what for gone in store.clear()] == ["damaged"]
    assert files(store) == {"room.lock"}


def test_where_nothing_can_be_written_the_work_goes_on(store: Store) -> None:
    with pytest.raises(OSError, match="exists"):
        Store(Path(__file__), GB)
    built(store, 0, of(0))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))  # as a full disk does, half-way
    try:
        got = built(store, 1, of(1, rows=1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert same(got, of(1, rows=1000))
    assert files(store) == {f"{key(0)}.arrow", f"{key(0)}.lock", f"{key(1)}.lock", "room.lock"}
    assert same(built(store, 1, of(1, rows=1000)), got)
    assert _names(store) == ["of 0", "of 1"]


# A process of its own. Its arguments: the store, a folder to leave word in, and a name.
PROLOGUE = """
import resource, signal, sys, time
from pathlib import Path
from search.runtime.store import Store
from tests.search.runtime.test_store import key, of, same
store, word, name = Store(Path(sys.argv[1]), 1e9), Path(sys.argv[2]), sys.argv[3]
def wait(pattern, count=1):
    end = time.monotonic() + 300
    while len(list(word.glob(pattern))) < count:
        assert time.monotonic() < end
        time.sleep(0.005)
"""
BUILDER = """
(word / f"ready-{name}").touch()
wait("ready-*", 2)
def compute(number):
    (word / f"computed-{number}-{name}").touch()
    wait("computed-*-one")
    wait("computed-*-two")  # both are at work, on different keys
    return of(number)
found, held = {}, False
while len(found) < 6:
    for number in range(6):
        if number not in found:
            got = store.build(key(number), str(number), lambda: compute(number), held)
            if got is not None:
                found[number] = got
    held = True
assert all(same(found[number], of(number)) for number in range(6))
"""
WRITER = """
def compute():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the end, when the file is so long
    return of(1, rows=100_000)
store.build(key("x"), "x", compute, True)
"""
HOLDER = WRITER.replace(
    "def compute():\n", "def compute():\n    (word / 'holds').touch()\n    wait('go-on')\n"
)


@pytest.fixture
def start(store: Store, tmp_path: Path) -> Iterator[Callable[[str, str], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(code: str, name: str) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-c", PROLOGUE + code, str(store.folder), str(tmp_path), name]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        started.append(subprocess.Popen(arguments, env=environment, cwd=ROOT))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


Start = Callable[[str, str], "subprocess.Popen[bytes]"]


def until(folder: Path, word: str, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until each of some processes has left word; none may end before it has."""
    while True:
        working = all(process.poll() is None for process in processes)  # before the look for word
        if len(list(folder.glob(word))) == len(processes):
            return
        assert working
        time.sleep(0.005)


def test_two_processes_share_the_work(store: Store, tmp_path: Path, start: Start) -> None:
    processes = [start(BUILDER, "one"), start(BUILDER, "two")]
    until(tmp_path, "ready-*", processes)  # they import, which takes seconds
    while any(process.poll() is None for process in processes):
        store.clear(unused_since=0)  # removes locks that nobody holds
        time.sleep(0.01)
    assert [process.returncode for process in processes] == [0, 0]
    computed = sorted(path.name.split("-")[1:] for path in tmp_path.glob("computed-*"))
    assert [number for number, _ in computed] == [str(number) for number in range(6)]
    assert {name for _, name in computed} == {"one", "two"}
    for number in range(6):
        assert same(built(store, number, {}), of(number))


@pytest.mark.parametrize("end", ["killed", "killed while it writes"])
def test_a_process_that_ends_half_way(store: Store, tmp_path: Path, start: Start, end: str) -> None:
    process = start(HOLDER, "")
    until(tmp_path, "holds", [process])
    assert store.build(key("x"), "x", never, wait=False) is None
    assert store.load(key("x")) is None
    assert store.clear() == []
    assert files(store) == {f"{key('x')}.lock"}  # it is in use
    assert store.build(key("x"), "x", never, wait=False) is None
    if end == "killed":
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert files(store) == {f"{key('x')}.lock"}
        got = store.build(key("x"), "x", lambda: of(2), wait=False)  # the lock is free
    else:
        (tmp_path / "go-on").touch()
        got = store.build(key("x"), "x", lambda: of(2), wait=True)
        assert process.wait() == -signal.SIGXFSZ
    assert got is not None and same(got, of(2))
    assert files(store) == {f"{key('x')}.arrow", f"{key('x')}.lock", "room.lock"}


def test_what_a_killed_writer_left_is_in_nobodys_way(store: Store) -> None:
    process = subprocess.run(
        [sys.executable, "-c", PROLOGUE + WRITER, store.folder, "", ""], cwd=ROOT, check=False
    )
    assert process.returncode == -signal.SIGXFSZ
    left = {f"{key('x')}.new", f"{key('x')}.lock"}
    assert files(store) == left
    assert store.load(key("x")) is None and store.entries() == []
    (half,) = store.folder.glob("*/*.new")
    data = half.read_bytes()
    assert len(data) == 100_000
    assert store.clear() == []
    assert files(store) == set()
    half.write_bytes(data)
    assert same(built(store, "x", of(1)), of(1))
    assert files(store) == {f"{key('x')}.arrow", f"{key('x')}.lock", "room.lock"}


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_folder() == tmp_path / ".cache" / "isogloss"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_folder() == tmp_path / "xdg" / "isogloss"
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "own"))
    assert default_folder() == tmp_path / "own"
