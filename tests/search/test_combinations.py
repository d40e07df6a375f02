"""Components combine freely: what can be told apart trains, exports and scores the same again.

The ordinary suite takes a set of combinations in which every pair of kinds meets; the slow test
takes them all.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, Qwen3Config

from components.base import Base, load
from components.base.locate import BUILTIN
from components.config import Config, variants
from components.context import Context
from components.errors import SettingError
from components.interface import AdapterConfig, HeadConfig, LossConfig, PoolingConfig
from search.data.corpus import Corpus
from search.data.loading import load_corpora
from search.data.teachers import Teachers
from search.data.tokens import TokenisedCorpus, tokenise
from search.export import export
from search.settings.trial import TrialConfig
from search.space.conflicts import conflict
from search.training.loop import train
from tests.search.conftest import data_settings

FAMILIES: dict[str, type[Config]] = {
    "pooling": PoolingConfig,
    "head": HeadConfig,
    "adapter": AdapterConfig,
    "loss": LossConfig,
}
KINDS = {family: list(variants(f"components.{family}", base)) for family, base in FAMILIES.items()}
EVERY = [dict(zip(KINDS, kinds, strict=True)) for kinds in itertools.product(*KINDS.values())]
SIZES = {
    "vocab_size": 4096,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


def pairs_of(combination: dict[str, str]) -> set[Any]:
    return set(itertools.combinations(combination.items(), 2))


def covering() -> Iterator[dict[str, str]]:
    """Greedily, the combination with the most pairs that have not met yet."""
    left = set().union(*(pairs_of(combination) for combination in EVERY))
    while left:
        best = max(EVERY, key=lambda combination: len(pairs_of(combination) & left))
        left -= pairs_of(best)
        yield best


PAIRED = list(covering())


class Bench:
    """Two small bases, a decoder and an encoder, a few sentences, and a teacher."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        tokenizer = AutoTokenizer.from_pretrained(BUILTIN["builtin:tiny"])
        configs = {
            True: Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8),
            False: BertConfig(**SIZES),
        }
        self.models: dict[bool, dict[str, Any]] = {}
        self.bases: dict[bool, Base] = {}
        for causal, config in configs.items():
            name = folder / ("decoder" if causal else "encoder")
            AutoModel.from_config(config).save_pretrained(name)
            tokenizer.save_pretrained(name)
            self.models[causal] = {"model": str(name), "max_length": 48, "dtype": "float32"}
            trial = TrialConfig.of({"base": self.models[causal]})
            self.bases[causal] = load(trial.base)
        self.folder = folder
        settings = data_settings(
            train="builtin:cldr", languages=["en", "de", "gu"], train_rows=16, validation_rows=8
        )
        self.texts: tuple[Corpus, Corpus] = load_corpora(settings)
        train_corpus, validation = (
            tokenise(text, "en", self.bases[True].tokenize) for text in self.texts
        )
        self.corpora: tuple[TokenisedCorpus, TokenisedCorpus] = (train_corpus, validation)
        self.teachers = Teachers(self.texts[0], "en")

    def config(self, combination: dict[str, str]) -> TrialConfig:
        settings: dict[str, dict[str, Any]] = {
            "length_mean": {"power": 0.3},
            "latent_attention": {"latents": 4, "heads": 2, "hidden": 8},
            "attention": {"heads": 2},
            "mlp": {"hidden": 24},
            "residual": {"hidden": 24},
            "lora": {"rank": 2, "targets": "all-linear", "last_layers": 1},
            "family_lora": {"rank": 2, "targets": "all-linear", "last_layers": 1},
            **{
                loss: {"teacher": self.models[True]["model"]}
                for loss in ("distillation", "gist", "kl_distillation", "margin_mse")
            },
        }
        sections: dict[str, Any] = {
            family: {"kind": kind} | settings.get(kind, {}) for family, kind in combination.items()
        }
        if combination["head"] != "identity":
            sections["head"]["width"] = 16
        training = {"batch_size": 8, "pairs_per_epoch": 16}
        for causal in (True, False):
            config = TrialConfig.of(sections | {"base": self.models[causal], "training": training})
            fault = self.fault(config)
            if not str(fault).startswith("pooling.kind is 'cls'"):
                break
        return config

    def fault(self, config: TrialConfig) -> SettingError | None:
        causal = config.base.model == self.models[True]["model"]
        families = self.corpora[0].families
        return conflict(config, Context(width=32, causal=causal, families=families, workers=1))

    def train_and_export(self, config: TrialConfig, name: str) -> None:
        base = self.bases[config.base.model == self.models[True]["model"]]
        (report,) = train(config, base, *self.corpora, max_epochs=1, teachers=self.teachers)
        scores = export(
            config,
            report.checkpoint,
            self.folder / name,
            validation=self.texts[1],
            tokenised=self.corpora[1],
            expected=report.scores,
        )
        assert scores.by_language == pytest.approx(report.scores.by_language)
        shutil.rmtree(self.folder / name)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("combinations"))


def test_the_set_covers_every_pair() -> None:
    met = set().union(*(pairs_of(combination) for combination in PAIRED))
    for one, other in itertools.combinations(KINDS, 2):
        for kind, beside in itertools.product(KINDS[one], KINDS[other]):
            assert ((one, kind), (other, beside)) in met
    assert len(PAIRED) < len(EVERY) / 10


@pytest.mark.parametrize("combination", PAIRED, ids=lambda c: "-".join(c.values()))
def test_pairs(combination: dict[str, str], bench: Bench) -> None:
    config = bench.config(combination)
    fault = bench.fault(config)
    if fault:
        # The one pair that can never have an effect; all else must train.
        assert (combination["pooling"], combination["head"]) == ("length_mean", "identity")
        return
    bench.train_and_export(config, "-".join(combination.values()))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_combination(bench: Bench) -> None:
    trained = 0
    for combination in EVERY:
        config = bench.config(combination)
        if not bench.fault(config):
            bench.train_and_export(config, f"all-{trained}")
            trained += 1
    idle = len(KINDS["adapter"]) * len(KINDS["loss"])  # length_mean under identity
    assert trained == len(EVERY) - idle
    print(f"{trained} combinations trained and exported")
