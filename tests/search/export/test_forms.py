"""Other forms of an exported folder: the base by its name, another dtype, fewer dimensions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.base import Base
from components.base.locate import BUILTIN
from components.encoder import assemble
from search.data.corpus import Corpus
from search.data.tokens import TokenisedCorpus
from search.evaluation.retrieval import encode, score
from search.export import Form, export, load_folder, trusted
from search.runtime.ranks import Ranks
from search.settings.trial import TrialConfig
from search.training.checkpoint import restore_weights
from search.training.loop import EpochReport, train
from tests.search.export.test_deployed import Vectors

LORA = {"kind": "lora", "rank": 4, "targets": "all-linear", "last_layers": 2}
KINDS: dict[str, dict[str, Any]] = {
    "linear": {},
    "lora": {"adapter": LORA | {"rslora": True}},
    "attention and family_lora": {
        "pooling": {"kind": "attention", "heads": 4},
        "adapter": {**LORA, "kind": "family_lora", "shared": True},
    },
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unfrozen": ({"adapter": {"kind": "unfrozen"}}, "trained the base's own weights"),
    # Of transformers: it looks for the lengths by another name than PEFT saves them by.
    "dora": ({"adapter": LORA | {"dora": True}}, "without the trained .*lora_magnitude_vector"),
}

Texts = tuple[Corpus, Corpus]
Corpora = tuple[TokenisedCorpus, TokenisedCorpus]


Trial = tuple[TrialConfig, EpochReport, Vectors]


def trained(sections: dict[str, Any], base: Base, corpora: Corpora) -> Trial:
    """A trained trial and the vectors of its own encoder."""
    values = {
        "base": {"model": "builtin:tiny", "max_length": 32, "dtype": "float32"},
        "head": {"kind": "linear", "width": 16},
        "training": {"batch_size": 8, "pairs_per_epoch": 24},
        "optimizer": {"lr": 1e-2},  # far enough that a lost weight cannot hide
    }
    config = TrialConfig.of(values | sections)
    (report,) = train(config, base, *corpora, max_epochs=1)
    families = corpora[1].families
    encoder = assemble(base, config.adapter, config.pooling, config.head, families)
    restore_weights(report.checkpoint.part("encoder."), encoder)
    vectors = encode(encoder.eval(), corpora[1], corpora[1].present(), Ranks()).numpy()
    encoder.close()
    return config, report, vectors


@pytest.fixture(scope="module")
def trials(base: Base, corpora: Corpora) -> dict[str, Trial]:
    return {name: trained(sections, base, corpora) for name, sections in KINDS.items()}


def written(trial: Trial, texts: Texts, corpora: Corpora, folder: Path, form: Form) -> Vectors:
    """Export in a form, and encode as a user does."""
    config, report, _ = trial
    export(
        config, report.checkpoint, folder, validation=texts[1], tokenised=corpora[1],
        expected=report.scores, form=form,
    )  # fmt: skip
    model = load_folder(folder)
    told = [{"task": name} if config.adapter.routes else {} for name in texts[1].languages]
    calls = zip(texts[1].languages, told, strict=True)
    return np.concatenate([model.encode(texts[1].texts(name), **task) for name, task in calls])


@pytest.mark.parametrize("name", KINDS)
def test_the_base_by_its_name_gives_the_vectors_of_the_merged_form(
    trials: dict[str, Trial], texts: Texts, corpora: Corpora, tmp_path: Path, name: str
) -> None:
    config, _, expected = trials[name]
    for adapters in ("merged", "peft"):
        found = written(trials[name], texts, corpora, tmp_path / adapters, Form(adapters))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    folder = tmp_path / "peft"
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(BUILTIN["builtin:tiny"])
    assert not (folder / "config.json").exists() and not (folder / "model.safetensors").exists()
    weights = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    assert weights < 0.3 * (tmp_path / "merged" / "model.safetensors").stat().st_size
    assert trusted(folder) == config.adapter.routes


@pytest.mark.parametrize("name", REFUSED)
def test_what_peft_cannot_hold_is_refused(
    base: Base, texts: Texts, corpora: Corpora, tmp_path: Path, name: str
) -> None:
    sections, why = REFUSED[name]
    trial = trained(sections, base, corpora)
    with pytest.raises(ValueError, match=f"--adapters is 'peft'.*{why}.*must be 'merged'"):
        written(trial, texts, corpora, tmp_path / "out", Form("peft"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("adapters", ["merged", "peft"])
def test_another_dtype_and_fewer_dimensions(
    trials: dict[str, Trial], texts: Texts, corpora: Corpora, tmp_path: Path, adapters: Any
) -> None:
    _, _, whole = trials["lora"]
    form = Form(adapters, torch.bfloat16, truncate_dim=6)
    found = written(trials["lora"], texts, corpora, tmp_path / "out", form).astype(np.float32)
    model = load_folder(tmp_path / "out")
    assert model.get_embedding_dimension() == 6
    assert {parameter.dtype for parameter in model[0].parameters()} == {torch.bfloat16}
    first = whole[:, :6] / np.linalg.norm(whole[:, :6], axis=1, keepdims=True)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-2)
    assert (found * first).sum(1).min() > 0.99
    expected = score(torch.from_numpy(first), corpora[1]).accuracy
    assert f"| {expected:.3f} |" in (tmp_path / "out" / "README.md").read_text()


def test_more_dimensions_than_there_are_is_refused(
    trials: dict[str, Trial], texts: Texts, corpora: Corpora, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="--truncate-dim is 16; it must be less than the 16"):
        written(trials["linear"], texts, corpora, tmp_path / "out", Form(truncate_dim=16))
