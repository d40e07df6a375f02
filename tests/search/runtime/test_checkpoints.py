"""Checkpoints of trials: one that counts is there at any moment, and partial files never stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors import safe_open

from search.runtime.checkpoints import Checkpoints
from search.runtime.sealing import DamagedError, Part, seal

NAMES = ("weights/a", "optimizer/a", "random/0", "meta")
Make = Callable[[], Checkpoints]


def pieces(epoch: int) -> Iterator[memoryview]:
    data = bytes([epoch]) * 40
    parts = [Part(name, "F32", [10], 40, lambda: data) for name in NAMES]
    return seal(parts, {"report": f"epoch {epoch}"})


@pytest.fixture(params=["folder", "bucket"])
def make(tmp_path: Path, request: pytest.FixtureRequest) -> Make:
    # In a file system other than Arrow's own for paths, files are named as in a bucket.
    scheme = "" if request.param == "folder" else "fsspec+file://"
    return lambda: Checkpoints(f"{scheme}{tmp_path}/trials")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def tensors(checkpoints: Checkpoints, trial: int) -> set[str]:
    with checkpoints.opened(trial) as file:
        assert file is not None
        with safe_open(file, "numpy") as opened:
            return set(opened.keys())


def test_the_newest_takes_the_place_of_those_before(make: Make, tmp_path: Path) -> None:
    checkpoints = make()
    assert checkpoints.runs() == []
    assert checkpoints.newest(3) is None
    with checkpoints.opened(3) as file:
        assert file is None
    for epoch in (1, 2, 10, 10):
        checkpoints.write(3, epoch, pieces(epoch))
        assert len(files(tmp_path)) == 1
        assert make().newest(3) == {"report": f"epoch {epoch}"}
    checkpoints.write(3, 9, pieces(9))  # a worker that was given up is late
    assert make().newest(3) == {"report": "epoch 10"}
    with checkpoints.opened(3) as file:
        assert file is not None
        assert file.read_bytes() == b"".join(pieces(10))
    assert checkpoints.runs() == [(3, 0)]
    assert checkpoints.size() == sum(file.stat().st_size for file in files(tmp_path))


def test_what_cannot_be_written_leaves_the_one_before_alone(make: Make, tmp_path: Path) -> None:
    def failing() -> Iterator[memoryview]:
        yield next(pieces(2))
        raise KeyboardInterrupt

    checkpoints = make()
    checkpoints.write(0, 1, pieces(1))
    before = files(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.write(0, 2, failing())
    with pytest.raises(KeyboardInterrupt):
        checkpoints.write(0, 1, failing())
    assert files(tmp_path) == before
    assert checkpoints.newest(0) == {"report": "epoch 1"}


def test_an_ended_trial_keeps_its_weights_alone(make: Make, tmp_path: Path) -> None:
    checkpoints = make()
    checkpoints.write(0, 4, pieces(4))
    checkpoints.shrink(0)
    assert tensors(checkpoints, 0) == {"weights/a", "meta", "xxh3_128"}
    assert checkpoints.newest(0) == {"report": "epoch 4"}
    (file,) = files(tmp_path)
    first = file.read_bytes()
    checkpoints.shrink(0)
    (file,) = files(tmp_path)
    assert file.read_bytes() == first
    checkpoints.shrink(1)  # there is none
    checkpoints.remove(1)
    checkpoints.remove(0)
    assert checkpoints.runs() == []


def test_a_damaged_one_is_passed_over_for_an_older_one(make: Make, tmp_path: Path) -> None:
    checkpoints = make()
    checkpoints.write(0, 1, pieces(1))
    (sound,) = files(tmp_path)
    damaged = sound.with_name(sound.name.replace("epoch-1", "epoch-2"))
    damaged.write_bytes(sound.read_bytes()[:-30])  # as an upload that was cut short
    assert checkpoints.newest(0) == {"report": "epoch 1"}
    sound.unlink()
    for read in (checkpoints.newest, checkpoints.shrink):
        with pytest.raises(DamagedError):
            read(0)
    with pytest.raises(DamagedError), checkpoints.opened(0):
        pass


def test_what_a_killed_writer_has_left_is_no_checkpoint_and_is_removed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    left = tmp_path / "0" / "epoch-1.safetensors.0123abcd.new"
    left.parent.mkdir()
    left.write_bytes(b"".join(pieces(1)))
    assert checkpoints.newest(0) is None
    checkpoints.remove_partial(0)
    assert files(tmp_path) == []
    checkpoints.remove_partial(1)
