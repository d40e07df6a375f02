"""MTEB runs on exported models as they are, and its scores are those of the search's metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from components.base import BaseConfig, load
from components.encoder import assemble
from components.languages import FamilyTable
from search.data.loading import load_corpora
from search.data.settings import DataSettings
from search.export import Routing, trusted, write_model
from search.scoring.metric.f1 import weighted_f1
from search.scoring.neighbours import Direction
from search.settings.trial import TrialConfig

# Language of the data -> as MTEB names it.
LANGUAGES = {"de": "deu-Latn", "ko": "kor-Hang", "gu": "guj-Gujr"}
ROWS = 120


def local_task(columns: dict[str, list[str]]) -> Any:
    """A bitext task of sentences at hand: each language against English.

    Args:
        columns: language -> sentences, in the order of the English ones.
    """
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.abstasks.text.bitext_mining import AbsTaskBitextMining

    class LocalBitext(AbsTaskBitextMining):  # type: ignore[misc]
        metadata = TaskMetadata(
            name="LocalBitext",
            description="Sentences at hand.",
            dataset={"path": "local", "revision": "1"},
            type="BitextMining",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs={f"{name}-en": [code, "eng-Latn"] for name, code in LANGUAGES.items()},
            main_score="f1",
        )

        def load_data(self, **_: object) -> None:
            self.dataset = {
                f"{name}-en": DatasetDict(
                    test=Dataset.from_dict({"sentence1": columns[name], "sentence2": columns["en"]})
                )
                for name in LANGUAGES
            }
            self.data_loaded = True

    return LocalBitext()


@pytest.fixture(scope="module")
def columns() -> dict[str, list[str]]:
    """Sentences of which no two are the same in any language."""
    settings = DataSettings.model_validate(
        {"train": "builtin:cldr", "languages": ["en", *LANGUAGES], "validation_rows": 1000}
    )
    rows = load_corpora(settings)[1].table.to_pydict()
    kept: list[tuple[str, ...]] = []
    seen: set[str] = set()
    for row in zip(*(rows[name] for name in ("en", *LANGUAGES)), strict=True):
        if None not in row and not seen & set(row):
            seen |= set(row)
            kept.append(row)
    return {
        name: [row[index] for row in kept[:ROWS]] for index, name in enumerate(("en", *LANGUAGES))
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # MTEB calls what it has deprecated itself
@pytest.mark.parametrize("adapter", ["lora", "family_lora"])
def test_an_exported_model(tmp_path: Path, columns: dict[str, list[str]], adapter: str) -> None:
    import mteb  # which takes seconds

    torch.manual_seed(0)
    config = TrialConfig.of(
        {
            "base": {"model": "builtin:tiny"},
            "adapter": {"kind": adapter, "rank": 4, "targets": "all-linear"},
            "pooling": {"kind": "length_mean", "power": 0.3},
            "head": {"kind": "identity"},
        }
    )
    families = ("cjk", "indic", "latin")
    base = load(BaseConfig(model="builtin:tiny", dtype="float32"), "cpu")
    encoder = assemble(base, config.adapter, config.pooling, config.head, families)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    languages = {"de": "latin", "en": "latin", "ko": "cjk", "gu": "indic"}
    routing = Routing(families, languages, FamilyTable().words())
    write_model(encoder, tmp_path / "best", routing if adapter == "family_lora" else None)
    folder = str(tmp_path / "best")
    model = SentenceTransformer(folder, device="cpu", trust_remote_code=trusted(tmp_path / "best"))

    found = mteb.evaluate(model, local_task(columns), cache=None, show_progress_bar=False)
    by_subset = {one["hf_subset"]: one for one in found[0].scores["test"]}
    assert by_subset.keys() == {f"{name}-en" for name in LANGUAGES}
    pivot = torch.from_numpy(model.encode(columns["en"], normalize_embeddings=True))
    same = np.eye(ROWS, dtype=np.bool_)
    for name in LANGUAGES:
        vectors = torch.from_numpy(model.encode(columns[name], normalize_embeddings=True))
        one = Direction(vectors, pivot, same.__getitem__)
        theirs = by_subset[f"{name}-en"]
        assert theirs["f1"] == pytest.approx(weighted_f1(one), abs=1e-6)
        assert theirs["accuracy"] == pytest.approx(one.is_right_Q.double().mean().item(), abs=1e-6)
    # Scores of 0 and 1 would agree whatever the definition.
    assert all(0 < by_subset[f"{name}-en"]["f1"] < 1 for name in ("ko", "gu"))
