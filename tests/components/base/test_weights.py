"""A table of model folders that cannot be loaded, and what is said before anything is read."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.base import BaseConfig, load, load_skeleton
from tests.components.base.tiny_models import CONFIGS, write_folder


def weights(folder: Path) -> Path:
    return folder / "model.safetensors"


def renamed(folder: Path) -> None:
    tensors = {f"elsewhere.{k}": v for k, v in load_file(weights(folder)).items()}
    save_file(tensors, weights(folder), metadata={"format": "pt"})


def cut(share: float) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = weights(folder).read_bytes()
        weights(folder).write_bytes(content[: int(share * len(content))])

    return damage


def write(content: bytes) -> Callable[[Path], None]:
    def overwrite(folder: Path) -> None:
        weights(folder).write_bytes(content)

    return overwrite


def setting(**changes: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def without(name: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        kept = {k: v for k, v in load_file(weights(folder)).items() if k != name}
        save_file(kept, weights(folder), metadata={"format": "pt"})

    return remove


def longer(folder: Path) -> None:
    weights(folder).write_bytes(weights(folder).read_bytes() + b"more")


def sharded(lose: bool, share: float = 1.0) -> Callable[[Path], None]:
    def split(folder: Path) -> None:
        tensors = load_file(weights(folder))
        names = sorted(tensors)
        parts = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
        for part, inside in parts.items():
            save_file({n: tensors[n] for n in inside}, folder / part, metadata={"format": "pt"})
        where = {n: part for part, inside in parts.items() for n in inside}
        index = {"metadata": {}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        weights(folder).unlink()
        second = folder / "two.safetensors"
        second.write_bytes(second.read_bytes()[: int(share * second.stat().st_size)])
        if lose:
            second.unlink()

    return split


def bad_index(folder: Path) -> None:
    weights(folder).unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": 3}')


def pickled(folder: Path) -> None:
    torch.save(load_file(weights(folder)), folder / "pytorch_model.bin")
    weights(folder).unlink()


TABLE: list[tuple[str, Callable[[Path], None], str]] = [
    ("no weights", lambda folder: weights(folder).unlink(), "it has no weights"),
    ("empty", write(b""), "model.safetensors is empty"),
    ("text", write(b"not a model"), "is no safetensors file, or its header is damaged"),
    ("header that is no JSON", write(b"\x08" + b"\0" * 7 + b"{" * 8), "its header is damaged"),
    ("header that is a list", write(b"\x02" + b"\0" * 7 + b"[]"), "its header is damaged"),
    ("huge header", write(b"\xff" * 64), "its header is damaged"),
    ("cut in the header", cut(0.001), "its header is damaged"),
    ("cut in half", cut(0.5), "by its header it must have"),
    ("cut at the end", cut(0.9999), "by its header it must have"),
    ("longer than its header says", longer, "by its header it must have"),
    ("another width", setting(hidden_size=64), "by its config.json; they must be of one model"),
    ("another vocabulary", setting(vocab_size=300), "is 264 x 32 in its files, but 300 x 32 by"),
    ("more layers", setting(num_hidden_layers=5), "its files lack 32 weights of a BertModel"),
    ("a missing weight", without("embeddings.LayerNorm.weight"), "lack 1 weights of a BertModel"),
    ("weights of something else", renamed, "weights of a BertModel"),
    ("a lost part", sharded(lose=True), "names two.safetensors, which is not there"),
    ("a cut part", sharded(False, 0.5), "two.safetensors has .* bytes; by its header it must have"),
    ("an index of nothing", bad_index, "model.safetensors.index.json is no index of weights"),
    ("a pickle", pickled, r"in a pickle \(pytorch_model.bin\), .* set base.allow_pickle: true"),
]


@pytest.mark.parametrize(("damage", "said"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE])
def test_it_is_found_without_reading_the_weights(
    damage: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    write_folder(tmp_path, CONFIGS["bert"])
    damage(tmp_path)
    with pytest.raises(ValueError, match=said) as caught:
        load_skeleton(BaseConfig(model=str(tmp_path)))
    assert str(caught.value).startswith("base.model ")
    assert "\n" not in str(caught.value)


def test_sound_weights_in_parts_or_agreed_to_as_a_pickle_are_the_same(tmp_path: Path) -> None:
    expected = write_folder(tmp_path / "whole", CONFIGS["bert"]).state_dict()
    for name, change in (("parts", sharded(lose=False)), ("pickle", pickled)):
        write_folder(tmp_path / name, CONFIGS["bert"])
        change(tmp_path / name)
        config = BaseConfig(model=str(tmp_path / name), allow_pickle=name == "pickle")
        load_skeleton(config)
        for key, value in load(config).model.state_dict().items():
            assert torch.equal(value, expected[key]), key


def test_load_refuses_a_pickle_too(tmp_path: Path) -> None:
    write_folder(tmp_path, CONFIGS["bert"])
    pickled(tmp_path)
    with pytest.raises(ValueError, match=r"^base\.model .* cannot be loaded"):
        load(BaseConfig(model=str(tmp_path)))


class _Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_code_in_a_pickle_never_runs(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", CONFIGS["bert"])
    weights(tmp_path / "model").unlink()
    marker = tmp_path / "marker"
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(pickle.dumps(_Runs(marker)))
    for allow_pickle in (False, True):
        for function in (load_skeleton, load):
            with pytest.raises(ValueError, match=r"^base\.model") as caught:
                function(BaseConfig(model=str(tmp_path / "model"), allow_pickle=allow_pickle))
            assert "\n" not in str(caught.value)
            assert not marker.exists()
