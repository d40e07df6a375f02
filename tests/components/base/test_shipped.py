"""What a sentence-transformers folder says beyond its transformer is used, or named as unused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from components.base import BaseConfig, load, load_skeleton
from components.base.locate import BUILTIN, locate

TYPES = "sentence_transformers.models"


def folder_of(tmp_path: Path, files: dict[str, Any]) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(BUILTIN["builtin:tiny"], folder)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(("limit", "length"), [(16, 16), (64, 64), (500, 100), (None, 100)])
def test_sentences_are_cut_where_the_folder_says(
    tmp_path: Path, limit: int | None, length: int
) -> None:
    folder = folder_of(tmp_path, {"sentence_bert_config.json": {"max_seq_length": limit}})
    for base in (load, load_skeleton):
        made = base(BaseConfig(model=str(folder), max_length=100))
        assert made.max_length == length
        assert len(made.tokenize(["word " * 300])[0]) == length
        notes = [note for note in made.notes if "max_seq_length" in note]
        assert len(notes) == (length != 100)


def test_what_is_not_used_is_named(tmp_path: Path) -> None:
    kinds = ("Transformer", "Pooling", "Dense", "Normalize")
    modules = [{"path": str(i), "type": f"{TYPES}.{kind}"} for i, kind in enumerate(kinds)]
    prompts = {"query": "query: ", "passage": "passage: ", "document": ""}
    folder = folder_of(
        tmp_path,
        {"modules.json": modules, "config_sentence_transformers.json": {"prompts": prompts}},
    )
    dense, prompt = load_skeleton(BaseConfig(model=str(folder))).notes
    assert "Dense are left out" in dense and "Pooling" not in dense
    assert "(query, passage) are not put before sentences" in prompt


@pytest.mark.parametrize("content", ["", "not json", "[]", "{}", '{"prompts": []}', "[1, null]"])
def test_files_without_sense_say_nothing(tmp_path: Path, content: str) -> None:
    names = ("modules.json", "config_sentence_transformers.json")
    folder = folder_of(tmp_path, dict.fromkeys(names, content))
    assert load_skeleton(BaseConfig(model=str(folder))).notes == ()


def test_a_peft_folder_is_refused_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"a PEFT adapter without its base; .* merge the adapter"):
        locate(str(tmp_path))
