"""Finding and loading a base; every fault is one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    MarianConfig,
    XLMRobertaConfig,
)

from components.base import BaseConfig, load, load_skeleton
from components.base.locate import BUILTIN
from components.ragged import Tokens
from tests.components.conftest import SIZES

TINY = BUILTIN["builtin:tiny"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def test_builtin_and_folder_are_the_same_model(folder: Path) -> None:
    one = load(BaseConfig(model="builtin:tiny"))
    other = load(BaseConfig(model=str(folder)))
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name
    assert one.width == 128
    assert one.position_offset == 0, "it runs packed"
    assert not one.model.training
    assert not any(p.requires_grad for p in one.model.parameters())


def test_the_skeleton_has_no_weights_but_tokenises(folder: Path) -> None:
    skeleton = load_skeleton(BaseConfig(model=str(folder), max_length=6))
    assert skeleton.device.type == "meta"
    whole = load(BaseConfig(model=str(folder), max_length=6))
    sentences = ["Peru and Kenya", "a", "one two three four five six seven eight"]
    ids = skeleton.tokenize(sentences)
    assert ids == whole.tokenize(sentences)
    assert max(map(len, ids)) == 6
    assert skeleton.tokenize([]) == []


def test_dtype_is_what_was_asked_for() -> None:
    base = load(BaseConfig(model="builtin:tiny", dtype="bfloat16"))
    assert base.model.dtype == torch.bfloat16
    assert base.position_offset == 0, "half precision runs packed too"
    assert load(BaseConfig(model="builtin:tiny")).model.dtype == torch.float32


def test_max_length_stays_within_the_positions() -> None:
    assert load_skeleton(BaseConfig(model="builtin:tiny", max_length=9999)).max_length == 256


def test_roberta_counts_its_positions_from_behind_the_padding(folder: Path) -> None:
    # 64 positions, of which the padding index, 1, and what is below it are never a token's.
    sizes = {**SIZES, "vocab_size": 4096, "pad_token_id": 1}
    model = AutoModel.from_config(XLMRobertaConfig(**sizes)).eval()
    model.save_pretrained(folder)
    base = load(BaseConfig(model=str(folder), max_length=999))
    assert base.max_length == 62
    assert base.position_offset == 2, "it runs packed"
    longest = Tokens.of([list(range(5, 67))])
    with torch.no_grad():
        expected = model(input_ids=longest.ids_T[None]).last_hidden_state[0]
    torch.testing.assert_close(base(longest).values_TD, expected, rtol=0, atol=1e-5)


def test_an_older_sentence_transformers_folder(folder: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    shutil.move(folder, outer / "0_Transformer")
    (outer / "modules.json").write_text(json.dumps([{"path": "0_Transformer"}]))
    assert load_skeleton(BaseConfig(model=str(outer))).width == 128


def refused(model: str | Path, what: str) -> None:
    for function in (load, load_skeleton):
        with pytest.raises(ValueError, match=what) as caught:
            function(BaseConfig(model=str(model)))
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith("base.model")


def test_what_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path / "absent", "does not exist")
    refused("builtin:huge", "built in is only builtin:tiny")
    (tmp_path / "file").touch()
    refused(tmp_path / "file", "a file; it must be a model folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "has no config.json")


def test_what_is_broken(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"cannot be loaded") as caught:
        load(BaseConfig(model=str(folder)))
    assert "\n" not in str(caught.value)
    (folder / "model.safetensors").unlink()
    refused(folder, "it has no weights|no file named")
    (folder / "config.json").write_text("{")
    refused(folder, "cannot be loaded")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_weights_file_cut_short_is_refused(folder: Path, share: float) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: int(share * len(weights))])
    with pytest.raises(ValueError, match=r"cannot be loaded") as caught:
        load(BaseConfig(model=str(folder)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lost", ["embed_tokens.weight", "layers.3.mlp.up_proj.weight", "norm"])
def test_a_missing_weight_is_refused_not_drawn_at_random(folder: Path, lost: str) -> None:
    weights = load_file(folder / "model.safetensors")
    (name,) = (name for name in weights if name == lost or name == f"{lost}.weight")
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"^base\.model .* lack 1 weights .*{name}") as caught:
        load(BaseConfig(model=str(folder)))
    assert "\n" not in str(caught.value)


def test_weights_of_another_model_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    renamed = {f"elsewhere.{name}": value for name, value in weights.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"lack {len(weights)} weights"):
        load(BaseConfig(model=str(folder)))


def test_a_pooler_may_be_missing_as_no_state_comes_from_it(folder: Path) -> None:
    settings = BertConfig(**{**SIZES, "vocab_size": 4096})
    BertForMaskedLM(settings).save_pretrained(folder)
    base = load(BaseConfig(model=str(folder)))
    assert base.model.pooler is not None
    assert base.width == 32


def test_a_folder_without_a_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    refused(folder, "cannot be loaded")
    # Without its settings too, transformers makes an empty one that gives no tokens at all.
    (folder / "tokenizer_config.json").unlink()
    refused(folder, "tokenizer has no vocabulary")


def test_an_encoder_decoder_without_an_encoder_of_its_own_is_refused(folder: Path) -> None:
    MarianConfig().save_pretrained(folder)
    refused(folder, "a marian encoder-decoder, of which transformers has no encoder alone")
