"""What tokenizers lack, and when they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from components.base import BaseConfig, load, load_skeleton
from tests.components.base.tiny_models import CONFIGS, ROWS, byte_tokenizer, write_folder

TEXTS = ["Peru", "Ā Ġ <unk> ! a", "zwölf Äpfel"]


@pytest.mark.parametrize("roles", [{"unk_token": "<unk>"}, {"cls_token": None}])
def test_some_token_serves_as_pad_and_no_text_is_split_otherwise(
    roles: dict[str, str | None], tmp_path: Path
) -> None:
    write_folder(tmp_path, CONFIGS["gpt2"])
    bare = byte_tokenizer(**roles)
    bare.save_pretrained(tmp_path)
    base = load_skeleton(BaseConfig(model=str(tmp_path)))
    assert bare.pad_token is None
    assert base.tokenizer.pad_token is not None
    assert len(base.tokenizer) == ROWS - 3  # no token was added
    for text in TEXTS:
        assert base.tokenize([text]) == [bare(text)["input_ids"]]


def test_a_base_without_a_pad_token_batches_in_sentence_transformers(tmp_path: Path) -> None:
    write_folder(tmp_path / "base", CONFIGS["gpt2"])
    byte_tokenizer(unk_token="<unk>").save_pretrained(tmp_path / "base")
    base = load(BaseConfig(model=str(tmp_path / "base")))
    base.model.save_pretrained(tmp_path / "out")
    base.tokenizer.save_pretrained(tmp_path / "out")
    model = SentenceTransformer(
        modules=[Transformer(str(tmp_path / "out")), Pooling(32, "mean")], device="cpu"
    )
    together = model.encode(TEXTS, convert_to_tensor=True)
    for text, got in zip(TEXTS, together, strict=True):
        alone = model.encode([text], convert_to_tensor=True)[0]
        torch.testing.assert_close(got, alone, rtol=1e-4, atol=1e-5)


def test_a_tokenizer_larger_than_the_embedding_is_refused_with_both_numbers(tmp_path: Path) -> None:
    write_folder(tmp_path, CONFIGS["bert"])
    tokenizer = byte_tokenizer()
    size = len(tokenizer)
    tokenizer.add_tokens([f"new{n}" for n in range(ROWS - size + 7)])
    tokenizer.save_pretrained(tmp_path)
    for function in (load, load_skeleton):
        with pytest.raises(
            ValueError, match=rf"its tokenizer has {ROWS + 7} tokens, but its embedding has {ROWS} "
        ):
            function(BaseConfig(model=str(tmp_path)))
