"""What a sentence-transformers folder says beyond its transformer is used, or named as unused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer

from components.base import BaseConfig, load, load_skeleton
from components.base.locate import BUILTIN
from components.base.shipped import read_shipped

TYPES = "sentence_transformers.models"


def folder_of(tmp_path: Path, files: dict[str, Any]) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(BUILTIN["builtin:tiny"], folder)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text)
    return folder


def modules(*kinds: str) -> list[dict[str, str]]:
    """What modules.json says of modules of these kinds, the first in the folder itself."""
    return [
        {"name": str(n), "path": f"{n}_{kind}" if n else "", "type": f"{TYPES}.{kind}"}
        for n, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize("file", ["sentence_bert_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize(("limit", "length"), [(16, 16), (64, 64), (500, 100), (None, 100)])
def test_sentences_are_cut_where_the_folder_says(
    tmp_path: Path, file: str, limit: int | None, length: int
) -> None:
    """sentence-transformers had a file of its own for it, and since 5.4 keeps it in the
    tokenizer's.
    """
    key = "max_seq_length" if file.startswith("sentence") else "model_max_length"
    folder = folder_of(tmp_path, {"modules.json": modules("Transformer")})
    there = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps(there | ({} if limit is None else {key: limit})))
    for base in (load, load_skeleton):
        made = base(BaseConfig(model=str(folder), max_length=100))
        assert made.max_length == length
        assert len(made.tokenize(["word " * 300])[0]) == length
        expected = f"sentences are cut at {length} tokens, the folder's max_seq_length, and not at "
        assert made.notes == (() if length == 100 else (f"{expected}base.max_length, 100",))
    if length < 100:
        assert SentenceTransformer(str(folder), device="cpu").max_seq_length == length


def test_the_tokenizer_of_a_plain_folder_sets_no_length(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {})
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 16}))
    assert load_skeleton(BaseConfig(model=str(folder), max_length=100)).max_length == 100


def test_an_older_folder_keeps_its_transformer_inside(tmp_path: Path) -> None:
    inner = folder_of(tmp_path, {"sentence_bert_config.json": {"max_seq_length": 32}})
    inner.rename(tmp_path / "0_Transformer")
    listed = [{"path": "0_Transformer", "type": f"{TYPES}.Transformer"}, *modules("", "Dense")[1:]]
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    config = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(config))
    base = load_skeleton(BaseConfig(model=str(tmp_path)))
    assert base.max_length == 32
    assert (base.shipped.default_prompt, base.shipped.unused) == ("query: ", ("Dense",))


def test_what_is_not_used_is_named(tmp_path: Path) -> None:
    listed = modules("Transformer", "Pooling", "Dense", "Normalize")
    folder = folder_of(tmp_path, {"modules.json": listed})
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"include_prompt": false}')
    dense, prompt = load_skeleton(BaseConfig(model=str(folder))).notes
    assert "Dense are left out" in dense and "Pooling" not in dense
    assert "pooling leaves the prompt out" in prompt


@pytest.mark.parametrize(
    ("config", "prompts", "default"),
    [
        ({"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query"},
         {"query": "query: ", "document": ""}, "query: "),
        ({"prompts": {"query": "query: "}, "default_prompt_name": None}, {"query": "query: "}, ""),
        ({"prompts": {"query": "query: "}, "default_prompt_name": "other"},
         {"query": "query: "}, ""),
        ({"prompts": {"query": None, "x": 3}}, {}, ""),
        ({"prompts": ["query: "]}, {}, ""),
        ({}, {}, ""),
    ],
)  # fmt: skip
def test_the_prompts_are_read(
    tmp_path: Path, config: dict[str, Any], prompts: dict[str, str], default: str
) -> None:
    files = {
        "modules.json": modules("Transformer"),
        "config_sentence_transformers.json": config,
    }
    shipped = read_shipped(str(folder_of(tmp_path, files)))
    assert (shipped.prompts, shipped.default_prompt) == (prompts, default)
