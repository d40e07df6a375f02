"""Prompts stand before sentences in training, in scores and in the exported model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch.nn import functional as F

from components.base import BaseConfig, load, load_skeleton
from components.base.locate import BUILTIN
from components.base.shipped import Shipped
from search import finetune
from search.data.corpus import Corpus
from search.data.prompts import Prompts, choose_prompts
from search.data.settings import DataSettings
from search.data.split import load_split
from search.data.tokens import tokenise
from search.evaluation.retrieval import score
from search.evaluation.untouched import score_untouched
from search.runtime.store import Store
from search.settings.problems import InputError

TEXTS = {
    "en": ["A cat.", "Two green birds sing.", "It rains.", None],
    "de": ["Eine Katze.", "Zwei grüne Vögel singen.", None, "Wo ist der Bahnhof?"],
}
E5 = Shipped(True, prompts={"query": "query: ", "passage": "passage: "})
WITH_DEFAULT = Shipped(True, prompts=E5.prompts, default_prompt_name="passage")


def settings(prompt: Any) -> DataSettings:
    return DataSettings.model_validate({"train": "builtin:cldr", "prompt": prompt})


@pytest.mark.parametrize(
    ("prompt", "shipped", "expected"),
    [
        (None, Shipped(), Prompts()),
        (None, E5, Prompts("", "", E5.prompts, None)),
        (None, WITH_DEFAULT, Prompts("passage: ", "passage: ", E5.prompts, "passage")),
        ("", WITH_DEFAULT, Prompts()),
        ("x ", WITH_DEFAULT, Prompts("x ", "x ", {"query": "x ", "document": "x "}, "query")),
        (
            {"pivot": "", "others": "q "},
            E5,
            Prompts(
                "", "q ", {"pivot": "", "others": "q ", "query": "q ", "document": ""}, "others"
            ),
        ),
    ],
)
def test_the_settings_come_before_the_base_s_own(
    prompt: Any, shipped: Shipped, expected: Prompts
) -> None:
    assert choose_prompts(settings(prompt).prompt, shipped) == expected


def test_the_name_of_a_prompt_is_no_prompt() -> None:
    with pytest.raises(InputError, match=r"'query', the name of one of the base's prompts; .*: '"):
        choose_prompts(settings({"pivot": "", "others": "query"}).prompt, E5)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (3, "is 3; it must be a text, or a mapping with pivot and others"),
        (["query: "], "it must be a text, or a mapping with pivot and others"),
        ({"query": None}, "key 'query'; .* stands in quotation marks: '\"query: \"'"),
        ({"pivot": "p: "}, "names one side alone"),
        ({"pivot": "p: ", "others": None}, "others"),
    ],
)
def test_other_forms_are_refused(prompt: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(prompt)


def test_notes_say_what_stands_there() -> None:
    assert Prompts().notes() == []
    assert Prompts("p", "p").notes() == ["before each sentence stands the prompt 'p'"]
    (note,) = Prompts("p", "q").notes()
    assert "pivot stands the prompt 'p', before each other one 'q'" in note
    (note,) = choose_prompts(None, E5).notes()
    assert "has prompts ('query: ', 'passage: ') but no default one" in note


def test_the_tokens_are_those_of_the_prompt_and_the_sentence(tmp_path: Path) -> None:
    base, corpus = load(BaseConfig(model="builtin:tiny")), Corpus.of(TEXTS)
    prompts = Prompts("pivot: ", "others: ")
    by_hand = {"en": [text and f"pivot: {text}" for text in TEXTS["en"]],
               "de": [text and f"others: {text}" for text in TEXTS["de"]]}  # fmt: skip
    expected = tokenise(Corpus.of(by_hand), "en", base.tokenize)
    stored = Store(tmp_path, 1e9), base.tokenization
    for one in (None, prompts, None, prompts):  # the store keeps both, and does not mix them
        found = tokenise(corpus, "en", base.tokenize, stored=stored, prompts=one)
        other = expected if one else tokenise(corpus, "en", base.tokenize)
        assert np.array_equal(found.ids, other.ids)
        assert np.array_equal(found.starts, other.starts)
        assert np.array_equal(found.text, corpus.text_numbers)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in base as sentence-transformers saves it, with a default prompt."""
    transformer = Transformer(str(BUILTIN["builtin:tiny"]), max_seq_length=48)
    pooling = Pooling(transformer.get_embedding_dimension(), "max")
    model = SentenceTransformer(
        modules=[transformer, pooling],
        device="cpu",
        prompts=dict(E5.prompts),
        default_prompt_name="query",
    )
    found = tmp_path_factory.mktemp("base") / "model"
    model.save(str(found))
    return found


def test_the_base_without_training_is_scored_with_its_prompt(folder: Path) -> None:
    base = load(BaseConfig(model=str(folder), dtype="float32"))
    prompts = choose_prompts(None, base.shipped)
    corpus = tokenise(Corpus.of(TEXTS), "en", base.tokenize, prompts=prompts)
    model = SentenceTransformer(str(folder), device="cpu")
    texts = [text for column in TEXTS.values() for text in column if text]
    emb_BE = model.encode(texts, convert_to_tensor=True).cpu()
    assert torch.equal(emb_BE, model.encode([f"query: {t}" for t in texts], prompt="",
                                            convert_to_tensor=True).cpu())  # fmt: skip
    assert score_untouched(base, corpus) == score(F.normalize(emb_BE), corpus)


@pytest.mark.parametrize(
    ("prompt", "default", "pivot"),
    [
        (None, "query: ", None),
        ("'x: '", "x: ", None),
        ("{pivot: 'p: ', others: 'o: '}", "o: ", "p: "),
        ("''", "", None),
    ],
)
def test_finetune_keeps_prompts_and_length_in_best(
    folder: Path, tmp_path: Path, prompt: str | None, default: str, pivot: str | None
) -> None:
    rows = [{"en": f"The number {n}.", "de": f"Die Zahl {n}."} for n in range(80)]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    more = [] if prompt is None else ["--set", f"data.prompt={prompt}"]
    with pytest.raises(SystemExit) as ended:
        finetune.app(
            ["--base", str(folder), "--train", str(data), "--epochs", "1", "--head", "identity",
             "--adapter", "lora", "--output", str(tmp_path), "--name", "run", *more],
        )  # fmt: skip
    assert ended.value.code == 0
    best = SentenceTransformer(str(tmp_path / "run" / "best"), device="cpu")
    assert best.max_seq_length == 48
    text = "Die Zahl 7."
    same = best.encode(default + text, prompt="")
    np.testing.assert_array_equal(best.encode(text), same)
    if prompt is not None:
        np.testing.assert_array_equal(best.encode_query(text), same)
    if pivot is not None:
        expected = best.encode(pivot + text, prompt="")
        np.testing.assert_array_equal(best.encode(text, prompt_name="pivot"), expected)
        assert not np.array_equal(expected, same)
    card = (tmp_path / "run" / "best" / "README.md").read_text()
    assert ("Trained with the prompt" in card) == bool(default)
    health = json.loads((tmp_path / "run" / "run.json").read_text())["data"]["health"]
    assert bool([note for note in health["notes"] if "stands the prompt" in note]) == bool(default)


@pytest.mark.parametrize(("words", "long"), [(5, False), (20, True)])
def test_a_prompt_must_leave_tokens_to_the_sentence(words: int, long: bool) -> None:
    base = load_skeleton(BaseConfig(model="builtin:tiny", max_length=24))
    text = "word " * words
    (count,) = base.count_tokens([text])
    data = DataSettings.model_validate(
        {"train": "builtin:cldr", "languages": ["en", "de"], "train_rows": 40,
         "validation_rows": 8, "prompt": {"pivot": "", "others": text}}
    )  # fmt: skip
    assert (count >= 24) == long and 2 * count > 24
    if long:
        with pytest.raises(InputError, match=f"of {count} tokens; it must have fewer than the 24"):
            load_split(data, base)
    else:
        notes = load_split(data, base).health.notes
        assert any(f"takes {count} of the 24 tokens" in note for note in notes)
