"""Stored outputs of frozen layers: trials are the same with them and without, bit for bit."""

from __future__ import annotations

import copy
import itertools
import os
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, MPNetConfig, Qwen3Config

from components.adapter.lora import Lora
from components.adapter.none import NoAdapterConfig
from components.base import Base, BaseConfig
from components.base.locate import locate
from components.config import variants
from components.encoder import Encoder, assemble
from components.head.linear import Linear
from components.interface import AdapterConfig, PoolingConfig
from components.pooling.attention import Attention
from components.pooling.mean import Mean
from components.ragged import STATISTICS, States, Statistics
from search.data.corpus import Corpus
from search.data.pairs import Pairs
from search.data.tokens import Sentences, TokenisedCorpus, tokenise
from search.features import (
    FeaturePlan,
    Features,
    FeatureSet,
    chosen_boundaries,
    digest,
    open_features,
    performance_notes,
    weights_digest,
)
from search.features import shards as module
from search.features.shards import TOKEN_STATES
from search.runs.prepare import prepare
from search.runtime.store import Store
from search.settings.scheduler.asha import Asha
from search.settings.scheduler.none import NoScheduler
from search.settings.sections import CacheSettings
from search.settings.trial import TrainingConfig, TrialConfig
from search.training.loop import EpochReport, train
from search.training.session import Session
from tests.components.base.test_cut import Skipping
from tests.components.base.test_packing import KEYS, base_of
from tests.components.conftest import SIZES
from tests.search.conftest import assert_same
from tests.search.training.checkpoint_files import collect

EPOCHS = 2
DEPTH = 6
BOUNDARIES = (2, 4, DEPTH)
PLAN = FeaturePlan(BOUNDARIES, ("mean",))
TRAINING: dict[str, Any] = {"batch_size": 4, "pairs_per_epoch": 8}
LORA = {"kind": "lora", "rank": 2, "targets": "all-linear", "dropout": 0.2}
POOLINGS = list(variants("components.pooling", PoolingConfig))
OVER_TOKENS = {"attention", "latent_attention"}
MIXED = {"kind": "weighted", "weights": {"mean": 1.0, "attention": 0.5}}

MakeConfig = Callable[..., TrialConfig]
Corpora = tuple[TokenisedCorpus, TokenisedCorpus]


def start_of(kind: str) -> str:
    return "states" if kind in OVER_TOKENS else "statistics"


# What a trial is -> what it is to start from.
CASES: dict[str, tuple[dict[str, Any], str]] = {
    **{kind: ({"pooling": {"kind": kind}}, start_of(kind)) for kind in POOLINGS},
    "over tokens in part": ({"pooling": MIXED}, "states"),
    "lora 1": ({"adapter": LORA | {"last_layers": 1}}, "layer 4"),
    "lora 2": ({"adapter": LORA | {"last_layers": 2}, "pooling": MIXED}, "layer 4"),
    "lora 3": ({"adapter": LORA | {"last_layers": 3, "dora": True}}, "layer 2"),
    "lora all": ({"adapter": LORA}, "tokens"),
    "unfrozen 2": ({"adapter": {"kind": "unfrozen", "last_layers": 2}}, "layer 4"),
    "unfrozen all": ({"adapter": {"kind": "unfrozen"}}, "tokens"),
    "unfrozen embeddings": ({"adapter": {"kind": "unfrozen", "last_layers": 1, "embeddings": True}},
                            "tokens"),
    "families": ({"adapter": LORA | {"kind": "family_lora", "last_layers": 2, "shared": True}},
                 "layer 4"),
    "chunks": ({"adapter": LORA | {"last_layers": 2},
                "training": TRAINING | {"chunk_tokens": 40}}, "layer 4"),
    "chunks of statistics": ({"training": TRAINING | {"chunk_tokens": 40},
                              "head": {"kind": "mlp", "width": 8, "hidden": 12}}, "statistics"),
    "mined": ({"negatives": {"kind": "mined", "count": 2, "margin": None}}, "statistics"),
    "mined above": ({"negatives": {"kind": "mined", "pool": 20},
                     "adapter": LORA | {"last_layers": 1},
                     "training": TRAINING | {"matryoshka": [4], "seed": 3}}, "layer 4"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every corpus here fills several shards, and every shard several calls."""
    monkeypatch.setattr(module, "SHARD_TOKENS", 130)
    monkeypatch.setattr(module, "TOKENS_A_CALL", 60)


@pytest.fixture(scope="module")
def corpora(texts: tuple[Corpus, Corpus], base: Base) -> Corpora:
    """Fewer sentences than other tests have."""
    few = (text.take(range(rows)) for text, rows in zip(texts, (24, 8), strict=True))
    train, validation = (tokenise(corpus, "en", base.tokenize) for corpus in few)
    return train, validation


@pytest.fixture
def config(config: MakeConfig) -> MakeConfig:
    return lambda **sections: config(**{"training": TRAINING} | sections)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", 1e9)


def opened(
    base: Base,
    store: Store,
    boundaries: Sequence[int] = BOUNDARIES,
    statistics: Sequence[str] = STATISTICS,
) -> Features:
    plan = FeaturePlan(tuple(boundaries), tuple(statistics))
    return Features(base, store, "digest", plan, TrainingConfig(**TRAINING), EPOCHS, "tiny")


def layers_run(features: Features) -> int:
    return sum(part.layers_run for part in features._sets.values())


@pytest.mark.parametrize("case", CASES)
def test_trials_are_the_same_with_features_and_without(
    base: Base, corpora: Corpora, config: MakeConfig, store: Store, case: str
) -> None:
    sections, start = CASES[case]
    trial = config(**sections)

    def run(features: Features | None) -> list[EpochReport]:
        return collect(train(trial, base, *corpora, max_epochs=EPOCHS, features=features))

    plain = run(None)
    assert len(plain) == EPOCHS
    assert {report.start for report in plain} == {"tokens"}
    assert plain[0].loss != plain[1].loss
    features = opened(base, store, statistics=())
    assert features.boundaries == BOUNDARIES
    cold, done = run(features), layers_run(features)
    assert_same(cold, plain)
    assert {report.start for report in cold} == {start}
    if start == "tokens":
        assert store.entries() == []
        return
    other = opened(base, Store(store.folder, 1e9), statistics=())
    for reports in (run(features), run(other)):
        assert_same(reports, plain)
        assert {report.start for report in reports} == {start}
    assert (layers_run(features), layers_run(other)) == (done, 0)
    # States at lower boundaries are stored in the same pass, and no statistic that is not read.
    found = Counter(entry.what.removeprefix("tiny: ") for entry in store.entries())
    way = ["states at layer 2", "states at layer 4", "states at the end"]
    upto = {"layer 2": 1, "layer 4": 2, "states": 3, "statistics": 3}[start]
    read = trial.pooling.build(base.width).statistics if start == "statistics" else None
    stored = [*way[:upto], *(f"{name} of the states at the end" for name in read or ())]
    assert sorted(found) == sorted(stored)
    assert len(set(found.values())) == 1
    assert found[way[0]] > 4  # several shards of two corpora


TRIALS: dict[str, dict[str, Any]] = {
    "mean": {},
    "max": {"pooling": {"kind": "max"}, "head": {"kind": "mlp", "width": 8, "hidden": 12}},
    "attention": {"pooling": {"kind": "attention"}},
    "latent": {"pooling": {"kind": "latent_attention", "hidden": 8}},
    "last 2": {"adapter": LORA | {"last_layers": 2}},
    "last 1": {"adapter": LORA | {"kind": "family_lora", "last_layers": 1}},
    "last 4": {"adapter": LORA | {"last_layers": 4}},
}
# Boundaries that may be stored; trials one after another; the layers that each runs to store them.
COURSES: dict[str, tuple[tuple[int, ...], dict[str, int]]] = {
    "all on one way": (
        (2, 4, 6),
        {"mean": 6, "max": 0, "attention": 0, "latent": 0, "last 2": 0, "last 1": 0, "last 4": 0},
    ),
    "from below": ((2, 4, 6), {"last 4": 2, "last 1": 2, "last 2": 0, "attention": 2, "mean": 0}),
    "from above": ((2, 4), {"last 2": 4, "mean": 2, "last 4": 0, "max": 0}),
    "nothing but the end": ((6,), {"attention": 6, "mean": 0}),
    "statistics alone": ((), {"mean": 6, "max": 0}),
}


@pytest.mark.parametrize("course", COURSES)
def test_no_layer_is_run_twice_for_what_is_stored(
    base: Base, corpora: Corpora, config: MakeConfig, store: Store, course: str
) -> None:
    boundaries, trials = COURSES[course]
    features = opened(base, store, boundaries)
    run = [0]
    for name in trials:
        trial = config(**TRIALS[name])
        for _ in train(trial, base, *corpora, max_epochs=EPOCHS, features=features):
            pass
        run.append(layers_run(features))
    # Of the corpus to train on, only what was met; of the other, all.
    met, validation = (int(part.lengths.sum()) for part in corpora)
    layers = list(trials.values())
    tokens = run[1] // layers[0]
    assert validation < tokens < met + validation
    assert np.diff(run).tolist() == [tokens * count for count in layers]


@pytest.mark.parametrize("first", [(), (2,), (4,), (2, 6)])
def test_more_is_computed_from_what_is_there(
    base: Base, corpora: Corpora, store: Store, first: tuple[int, ...]
) -> None:
    """A later search that stores other boundaries gets the same numbers, with fewer layers."""
    corpus = corpora[1]
    every = corpus.present()
    for boundary in first:
        opened(base, store, first)._set(corpus, boundary, None)(every)
    features = opened(base, store)
    got = features._set(corpus, DEPTH, STATISTICS)(every)
    assert isinstance(got, Statistics)
    with torch.no_grad():
        want = base(corpus.tokens(every))
        for name in STATISTICS:
            assert torch.equal(getattr(got, name), getattr(want, name))
        for boundary in BOUNDARIES:
            states = features._set(corpus, boundary, None)(every)
            assert isinstance(states, States)
            assert torch.equal(
                states.values_TD, base.run_until(corpus.tokens(every), boundary).values_TD
            )
    spared = {(): 0, (2,): 2, (4,): 2, (2, 6): 4}[first]  # under layer 4, layer 2 is still to come
    assert layers_run(features) == corpus.lengths.sum() * (DEPTH - spared)


def wanted(corpus: TokenisedCorpus) -> dict[str, Sentences]:
    """Sentences as anybody may ask for them."""
    every = corpus.present()
    rng = np.random.default_rng(0)
    return {
        "all": every,
        "backwards": every[np.arange(len(every))[::-1]],
        "in any order": every[rng.permutation(len(every))],
        "again and again": every[rng.integers(0, len(every), 50)],
        "one": every[17:18],
        "the last": every[len(every) - 1 :],
        "one, twice": every[np.asarray([3, 3])],
        "of two ends": every[np.asarray([0, len(every) - 1, 0])],
    }


@pytest.mark.parametrize("boundary", [2, DEPTH])
@pytest.mark.parametrize("pooled", [False, True])
def test_any_sentences_in_any_order(
    base: Base, corpora: Corpora, store: Store, boundary: int, pooled: bool
) -> None:
    for corpus in corpora:
        stored = opened(base, store)._set(corpus, boundary, STATISTICS if pooled else None)
        assert len(set(stored._shard[stored._shard >= 0].tolist())) > 3
        for name, sentences in wanted(corpus).items():
            got = stored(sentences)
            with torch.no_grad():
                want = base.run_until(corpus.tokens(sentences), boundary)
            if pooled:
                assert isinstance(got, Statistics)
                for statistic in STATISTICS:
                    assert torch.equal(getattr(got, statistic), getattr(want, statistic)), name
            else:
                assert isinstance(got, States)
                assert torch.equal(got.offsets, want.offsets), name
                assert torch.equal(got.values_TD, want.values_TD), name


def test_missing_sentences_are_in_no_shard(base: Base, store: Store) -> None:
    corpus = made([[3, 0, 5], [4, 1, 0]])
    stored = opened(base, store)._set(corpus, DEPTH, STATISTICS)
    assert (stored._shard >= 0).tolist() == [[True, False, True], [True, True, False]]
    got = stored(corpus.present())
    assert got.count.squeeze(1).tolist() == [3, 5, 4, 1]


def made(lengths: list[list[int]], seed: int = 0) -> TokenisedCorpus:
    """A corpus of random tokens, its sentences of given lengths."""
    lengths_LR = np.asarray(lengths)
    ends = np.cumsum(lengths_LR.ravel()).reshape(lengths_LR.shape)
    ids = np.random.default_rng(seed).integers(5, 110, ends[-1, -1]).astype(np.int32)
    return TokenisedCorpus(
        languages=("en", "de"),
        pivot=0,
        ids=ids,
        starts=np.concatenate([ends[:, :1] - lengths_LR[:, :1], ends], axis=1),
        text=np.where(lengths_LR > 0, np.arange(lengths_LR.size).reshape(lengths_LR.shape), -1),
        family_of_language=("latin", "latin"),
    )


def test_shards_are_of_a_size_and_in_the_order_of_trials(
    base: Base, corpora: Corpora, store: Store
) -> None:
    corpus = corpora[0]
    features = opened(base, store)
    stored = features._set(corpus, DEPTH, STATISTICS)
    pairs = Pairs(corpus, 8, TrainingConfig().language_temperature, 0)
    met = [side for epoch in range(EPOCHS) for side in pairs.drawn(epoch)]
    order: list[tuple[int, int]] = []
    for part in (*met, corpus.present()):
        seen = len(order)  # in the end, of those that trials meet
        for one in zip(part.language.tolist(), part.row.tolist(), strict=True):
            if one not in order:
                order.append(one)
    got = list(zip(stored.order.language.tolist(), stored.order.row.tolist(), strict=True))
    assert got == order
    # A sentence whose last token passes a multiple of the size begins a shard; so does the first
    # that no trial meets.
    assert 0 < seen < len(order)
    total, begun = 0, 0
    shards: list[int] = []
    for place, (language, row) in enumerate(order):
        if place == seen:
            total, begun = 0, shards[-1] + 1
        total += corpus.lengths[language, row]
        shards.append(begun + (total - 1) // module.SHARD_TOKENS)
    assert [stored._shard[one] for one in order] == shards
    stored(Sentences.join(met))
    tokens = sum(int(corpus.lengths[one]) for one in order[:seen])
    assert stored.layers_run == tokens * DEPTH, "what no trial meets is not computed"


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "gone"])
@pytest.mark.parametrize("pooled", [False, True])
def test_a_damaged_shard_is_computed_anew(
    base: Base, corpora: Corpora, store: Store, damage: str, pooled: bool
) -> None:
    corpus = corpora[1]
    want = opened(base, store, ())._set(corpus, DEPTH, STATISTICS if pooled else None)(
        corpus.present()
    )
    entries = store.entries()
    data = entries[1].file.read_bytes()
    entries[1].file.unlink()  # never in place: it is mapped
    if damage != "gone":
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]
        entries[1].file.write_bytes(
            {"flipped": flipped, "truncated": data[: middle + 1], "empty": b""}[damage]
        )
    stored = opened(base, store, ())._set(corpus, DEPTH, STATISTICS if pooled else None)
    got = stored(corpus.present())
    assert 0 < stored.layers_run < corpus.lengths.sum() * DEPTH / 2
    for name in STATISTICS:
        assert torch.equal(getattr(got, name), getattr(want, name))
    assert {entry.file for entry in store.entries()} == {entry.file for entry in entries}
    assert entries[1].file.read_bytes() == data


def keys_of(base: Base, corpus: TokenisedCorpus, store: Store, **changed: Any) -> list[str]:
    """The keys of all shards, which nobody need compute for that."""
    given: dict[str, Any] = {"digest": "digest", "boundary": 4, "pooled": False} | changed
    settings = TrainingConfig(**TRAINING)
    features = Features(base, store, given["digest"], FeaturePlan(), settings, EPOCHS)
    stored = features._set(corpus, given["boundary"], STATISTICS if given["pooled"] else None)
    shards = map(stored._sentences_key, range(len(stored._starts) - 1))
    return [stored._key(shard, name) for shard in shards for name in stored.names]


def twin(base: Base, dtype: torch.dtype = torch.float32) -> Base:
    made = Base(copy.deepcopy(base.model).to(dtype), base.tokenizer, base.max_length)
    made.position_offset = base.position_offset
    return made


def test_a_key_says_all_that_a_number_depends_on(
    base: Base, corpora: Corpora, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = corpora[0]
    known = [keys_of(base, corpus, store)]
    assert len(set(known[0])) == len(known[0]) > 3
    assert keys_of(twin(base), corpus, store) == known[0]
    changes: list[dict[str, Any]] = [{"digest": "other"}, {"boundary": 3}, {"pooled": True}]
    known += [keys_of(base, corpus, store, **changed) for changed in changes]
    shorter, padded, other = twin(base), twin(base), twin(base)
    shorter.max_length = 31  # which is in the tokens
    assert keys_of(shorter, corpus, store) == known[0]
    padded.position_offset = None
    other.model.config.rms_norm_eps *= 2
    others = [twin(base, torch.bfloat16), padded, other]
    known += [keys_of(one, corpus, store) for one in others]
    for package in ("torch", "transformers"):
        with monkeypatch.context() as patched:
            versions = {"torch": "1", "transformers": "2"} | {package: "other"}
            patched.setattr(digest, "version", versions.get)
            known.append(keys_of(base, corpus, store))
    assert len(set().union(*known)) == sum(map(len, known))


def test_a_changed_token_changes_one_shard(base: Base, corpora: Corpora, store: Store) -> None:
    corpus = corpora[0]
    before = keys_of(base, corpus, store)
    ids = corpus.ids.copy()
    ids[corpus.starts[1, 2]] += 1
    after = keys_of(base, replace(corpus, ids=ids), store)
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_the_same_tokens_cut_otherwise_are_other_sentences(base: Base, store: Store) -> None:
    one, other = (made([cut, [1, 1]]) for cut in ([4, 4], [3, 5]))
    assert np.array_equal(one.ids, other.ids)
    sets = [
        FeatureSet(base, corpus, 2, None, store, "digest", corpus.present(), "tiny")
        for corpus in (one, other)
    ]
    keys = [stored._key(stored._sentences_key(0), TOKEN_STATES) for stored in sets]
    assert keys[0] != keys[1]


def test_another_corpus_reuses_whole_shards(base: Base, store: Store) -> None:
    lengths = np.random.default_rng(1).integers(1, 30, (2, 20))
    larger = made(lengths.tolist())
    order = larger.present()
    chosen = order.row < 15
    # As if the smaller one were tokenised by itself: the same sentences at other places.
    ids = [larger.ids[larger.starts[side, 0] : larger.starts[side, 15]] for side in (0, 1)]
    smaller = replace(made(lengths[:, :15].tolist()), ids=np.concatenate(ids))

    def stored(corpus: TokenisedCorpus, order: Sentences) -> FeatureSet:
        return FeatureSet(base, corpus, 2, None, store, "digest", order, "tiny")

    first = stored(smaller, order[chosen])
    got = first(order[chosen])
    assert isinstance(got, States)
    assert first.layers_run == 2 * smaller.lengths.sum()
    second = stored(larger, Sentences.join([order[chosen], order[~chosen]]))
    with torch.no_grad():
        want = base.run_until(larger.tokens(order), 2)
    for sentences, states in ((order, want), (order[chosen], got)):
        again = second(sentences)
        assert isinstance(again, States)
        assert torch.equal(again.values_TD, states.values_TD)
    whole = first._starts[-2]  # the last one is not full
    kept = smaller.lengths[first.order.language, first.order.row][:whole].sum()
    assert kept > smaller.lengths.sum() / 2
    assert second.layers_run == 2 * (larger.lengths.sum() - kept)


def test_bfloat16_is_stored_as_it_is(
    base: Base,
    corpora: Corpora,
    config: MakeConfig,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SHARD_TOKENS", 10**6)
    monkeypatch.setattr(module, "TOKENS_A_CALL", 10**6)
    half = twin(base, torch.bfloat16)
    features = opened(half, store)
    assert features.boundaries == BOUNDARIES
    corpus = corpora[1]
    for boundary in (2, DEPTH):
        states = features._set(corpus, boundary, None)
        with torch.no_grad():  # in half precision a state depends on its batch
            want = half.run_until(corpus.tokens(states.order), boundary)
        got = states(states.order)
        assert isinstance(got, States)
        assert got.values_TD.dtype == torch.bfloat16
        assert torch.equal(got.values_TD, want.values_TD)
        pooled = features._set(corpus, boundary, STATISTICS)(states.order)
        for name in STATISTICS:
            assert getattr(pooled, name).dtype == torch.float32
            assert torch.equal(getattr(pooled, name), getattr(want, name))
    for sections in ({}, {"adapter": LORA | {"last_layers": 2}}):
        trial = config(**sections)
        plain = list(train(trial, half, *corpora, max_epochs=EPOCHS))
        first, second = (
            list(train(trial, half, *corpora, max_epochs=EPOCHS, features=features))
            for _ in range(2)
        )
        assert len(first) == EPOCHS
        assert_same(first, second)
        assert [r.loss for r in first] == pytest.approx([r.loss for r in plain], rel=0.02)


def encoder_of(base: Base, adapter: AdapterConfig, pooling: PoolingConfig | None = None) -> Encoder:
    return assemble(base, adapter, pooling or Mean(), Linear(width=8), ("latin",))


def test_a_padded_base_has_plain_feeds_for_adapters(store: Store) -> None:
    base = base_of(AutoModel.from_config(MPNetConfig(**SIZES)))
    assert not base.pack()
    wanted = (1, 2, base.depth)
    features = opened(base, store, wanted)
    assert features.boundaries == (base.depth,)
    (note,) = performance_notes(base, features, CacheSettings(), FeaturePlan(wanted))
    assert "padded" in note and "mpnet" in note
    corpus = made(np.random.default_rng(1).integers(1, 24, (2, 20)).tolist())
    lora = Lora(rank=2, targets="all-linear", last_layers=1)
    for adapter, pooling, start in (
        (lora, Mean(), "tokens"),
        (NoAdapterConfig(), Mean(), "statistics"),
        (NoAdapterConfig(), Attention(), "states"),
    ):
        encoder = encoder_of(base, adapter, pooling)
        for parameter in encoder.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        feed, words = features.feed(encoder, corpus)
        assert words == start
        sentences = corpus.present()[::3]
        family_B = corpus.family(sentences)
        with torch.no_grad():
            got, _ = encoder.embed(feed(sentences), family_B)
            want = encoder(corpus.tokens(sentences), family_B)
        torch.testing.assert_close(got, want, rtol=0, atol=0 if start == "tokens" else 1e-5)
        encoder.close()
    assert store.entries()


def test_a_model_that_cannot_be_cut_there_has_plain_feeds(store: Store) -> None:
    base = base_of(Skipping(Qwen3Config(**SIZES, **KEYS, head_dim=8)))
    assert base.pack()
    features = opened(base, store, (1, 2))
    assert features.boundaries == (1,)
    (note,) = performance_notes(base, features, CacheSettings(), FeaturePlan((1, 2)))
    assert "trials with adapters run the whole base" in note and "qwen3" in note
    features = opened(base, store, (2,))
    assert features.boundaries == ()
    encoder = encoder_of(base, Lora(rank=2, targets="all-linear", last_layers=1))
    corpus = made([[3, 9, 4], [2, 7, 1]])
    feed, words = features.feed(encoder, corpus)
    assert words == "tokens"
    with torch.no_grad():
        got, want = feed(corpus.present()), base(corpus.tokens(corpus.present()))
    assert isinstance(got, States)
    assert torch.equal(got.values_TD, want.values_TD)
    assert store.entries() == []
    encoder.close()


def test_nothing_is_said_where_all_is_well(base: Base, store: Store) -> None:
    assert performance_notes(base, opened(base, store), CacheSettings(), PLAN) == []
    assert performance_notes(base, None, CacheSettings(max_gb=0), FeaturePlan()) == []


TINY = BaseConfig(model="builtin:tiny", max_length=32, dtype="float32")


def test_open_features(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainingConfig(**TRAINING)

    def made(cache: CacheSettings) -> Features | None:
        return open_features(base, TINY, cache, PLAN, settings, EPOCHS)

    folder = tmp_path / "new" / "cache"
    assert made(CacheSettings(folder=str(folder), max_gb=0)) is None
    assert not folder.parent.exists()
    monkeypatch.setenv("ISOGLOSS_CACHE", str(tmp_path / "named"))
    features = made(CacheSettings())
    assert features is not None and features.boundaries == BOUNDARIES
    assert (tmp_path / "named").is_dir()
    assert made(CacheSettings(folder=str(folder))) is not None
    (entry,) = Store(folder, 1e9).entries()
    assert entry.what == "builtin:tiny: digests of weights"


# Folders that cannot be made, and one in which nobody, not even root, can make a file.
UNFIT = {"a file": Path(__file__), "below a file": Path(__file__) / "x", "closed": Path("/proc")}


@pytest.mark.parametrize("folder", UNFIT.values(), ids=UNFIT)
def test_a_folder_that_nothing_can_be_written_to(base: Base, folder: Path) -> None:
    cache = CacheSettings(folder=str(folder))
    features = open_features(base, TINY, cache, PLAN, TrainingConfig(), EPOCHS)
    assert features is None
    (note,) = performance_notes(base, features, cache, PLAN)
    assert "every trial runs the whole base" in note and str(folder) in note


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_a_pass_over_more_than_the_limit(
    base: Base, corpora: Corpora, config: MakeConfig, tmp_path: Path, share: float
) -> None:
    """What has no room is computed each time, for the sentences asked for and no others."""
    trials = [config(**TRIALS[name]) for name in ("last 2", "mean", "attention")]

    def run(features: Features | None) -> list[list[EpochReport]]:
        return [
            list(train(trial, base, *corpora, max_epochs=EPOCHS, features=features))
            for trial in trials
        ]

    plain = run(None)
    large = Store(tmp_path / "large", 1e9)
    run(opened(base, large, statistics=("mean",)))
    limit = max(1.0, share * sum(entry.size for entry in large.entries()))
    store = Store(tmp_path / "small", limit)
    features = opened(base, store, statistics=("mean",))
    before = features.note(CacheSettings(max_gb=limit / 1e9))
    for got, want in zip(run(features), plain, strict=True):
        assert_same(got, want)
    stored = {entry.file: entry.used for entry in store.entries()}
    assert bool(stored) == bool(share)
    assert sum(entry.size for entry in store.entries()) <= limit
    done = layers_run(features)
    again = opened(base, Store(store.folder, limit, since=0.0), statistics=("mean",))
    for got, want in zip(run(again), plain, strict=True):
        assert_same(got, want)
    assert {entry.file for entry in store.entries()} == stored.keys(), "none went for another"
    sets = again._sets.values()
    assert sum(len(part.unstored) for part in sets) > 0
    for part in sets:
        assert not part.unstored & part._loaded.keys()
    assert 0 < layers_run(again) <= done
    assert not before and "find room" in again.note(CacheSettings(max_gb=limit / 1e9))


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(locate("builtin:tiny"), tmp_path / "model"))


def test_the_digest_is_of_the_weights(model_folder: Path, store: Store) -> None:
    config = BaseConfig(model=str(model_folder))
    first = weights_digest(config, store)
    assert weights_digest(config, store) == first
    assert weights_digest(BaseConfig(model="builtin:tiny"), store) == first  # wherever they are
    (file,) = model_folder.glob("*.safetensors")
    data, times = bytearray(file.read_bytes()), file.stat()
    changed = []
    for _ in range(2):
        time.sleep(0.02)  # the clock of a file's times is a slow one
        data[-1] ^= 1
        file.write_bytes(data)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # as some copying tools do
        changed.append(weights_digest(config, store))
    assert changed[1] == first
    (model_folder / "modelling.py").write_text("own = 1\n")
    own = weights_digest(config, store)
    assert len({first, changed[0], own}) == 3


def test_weights_that_nobody_touched_are_not_read_again(model_folder: Path, store: Store) -> None:
    config = BaseConfig(model=str(model_folder))
    first = weights_digest(config, store)
    (entry,) = store.entries()
    # Another digest in the place of the file's own shows whether the file is read.
    entry.file.unlink()
    store.build(entry.file.stem, "", lambda: {"sha256": torch.zeros(32)}, wait=True)
    known = weights_digest(config, store)
    assert known != first
    assert weights_digest(config, Store(store.folder, 1e9)) == known
    (file,) = model_folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes())
    assert weights_digest(config, store) == first
    store.clear()
    assert weights_digest(config, store) == first


def saved_by(chosen: Sequence[int], whole: bool, expected: dict[int, float]) -> float:
    """Passes through layers that are spared, less those that it takes."""
    saved = 0.0 if whole else -float(max(chosen, default=0))
    for start, passes in expected.items():
        saved += passes * max((boundary for boundary in chosen if boundary <= start), default=0)
    return saved


def test_chosen_boundaries_against_every_set() -> None:
    draw = random.Random(0)
    seen: dict[int, int] = {}
    for _ in range(500):
        depth, whole = draw.choice([6, 12, 36]), draw.random() < 0.5
        expected = {
            draw.randint(0, depth): draw.choice([0.25, 0.5, 1.0, 1.25, 3.0, 40.0])
            for _ in range(draw.randint(0, 7))
        }
        room = draw.choice([0, 1, 2, 7])
        budget = room * 1000.0 + draw.choice([0, 999])
        got = chosen_boundaries(expected, whole, 10, 100, budget)
        if budget:
            room = max(room, 1)  # in part
        possible = [boundary for boundary in expected if boundary > 0]
        best = max(
            saved_by(some, whole, expected)
            for size in range(min(room, len(possible)) + 1)
            for some in itertools.combinations(possible, size)
        )
        assert saved_by(got, whole, expected) == pytest.approx(best)
        assert got == sorted(set(got) & set(possible)) and len(got) <= room
        for one in got:  # none is there for nothing
            assert saved_by([b for b in got if b != one], whole, expected) < best
        seen[len(got)] = seen.get(len(got), 0) + 1
    assert all(seen.get(size, 0) > 5 for size in range(4)), seen


@pytest.mark.parametrize("whole", [False, True])
def test_chosen_boundaries_of_many(whole: bool) -> None:
    """More than can be tried out; with room for all, each of them pays."""
    expected = dict.fromkeys(range(1, 36), 50.0)
    assert chosen_boundaries(expected, whole, 1, 1, 35) == list(range(1, 36))
    for room in (1, 2):
        best = max(
            saved_by(some, whole, expected) for some in itertools.combinations(range(1, 36), room)
        )
        assert saved_by(chosen_boundaries(expected, whole, 1, 1, room), whole, expected) == best


def test_what_saves_nothing_is_not_stored() -> None:
    assert chosen_boundaries({}, True, 1, 1, 1e9) == []
    assert chosen_boundaries({0: 1000.0}, True, 1, 1, 1e9) == []
    assert chosen_boundaries({4: 0.5}, False, 1, 1, 1e9) == []
    assert chosen_boundaries({4: 0.5}, True, 1, 1, 1e9) == [4]  # it is passed in any case
    assert chosen_boundaries({12: 3.0}, False, 1, 1, 1e9) == [12]
    assert chosen_boundaries({4: 2.0}, False, 1, 10, 10) == [4]
    assert chosen_boundaries({4: 2.0, 5: 19.0}, False, 1, 10, 9) == [5]  # in part
    assert chosen_boundaries({4: 2.0}, False, 1, 10, 0) == []


def halving(settings: Asha, trials: int) -> float:
    """Epochs of an average trial: all trials go to a rung, the best of them to the next."""
    left, done, spent = trials, 0, 0
    rung = settings.grace_epochs
    while done < settings.max_epochs:
        upto = min(rung, settings.max_epochs)
        spent += left * (upto - done)
        done = upto
        left //= settings.reduction
        rung *= settings.reduction
    return spent / trials


def test_expected_epochs_against_a_simulation() -> None:
    for most, reduction, grace in itertools.product(
        [1, 2, 3, 8, 9, 10, 27, 81], [2, 3, 4], [1, 2, 5, 9]
    ):
        if grace > most:  # which settings refuse
            continue
        settings = Asha(max_epochs=most, reduction=reduction, grace_epochs=grace)
        want = halving(settings, reduction**8)
        assert settings.expected_epochs() == pytest.approx(want), settings
        assert (
            NoScheduler(max_epochs=most, reduction=reduction, grace_epochs=grace).expected_epochs()
            == most
        )


SPACE = """
pooling: {{choice: {poolings}}}
adapter:
  choice:
    {frozen}
    - {{kind: lora, targets: all-linear, last_layers: {{choice: [1, 2, 4, all]}}}}
search: {{trials: {trials}, scheduler: {{max_epochs: {epochs}}}}}
data: {{train: builtin:cldr, languages: [en, de], train_rows: 100, validation_rows: 20}}
cache: {{max_gb: {gb}}}
"""


def test_boundaries_of_a_space(space_file: Callable[..., Path]) -> None:
    def boundaries(
        gb: float, trials: int = 50, epochs: int = 9, frozen: bool = True, poolings: str = "mean"
    ) -> list[int]:
        text = SPACE.format(
            trials=trials,
            gb=gb,
            epochs=epochs,
            frozen="- {kind: none}" if frozen else "",
            poolings=[{"kind": kind} for kind in poolings.split()],
        )
        return list(prepare(space_file(text)).features.boundaries)

    assert boundaries(20) == [2, 4, 5]
    assert boundaries(20, poolings="mean attention") == [2, 4, 5, 6]
    assert boundaries(0) == []
    # Trials without an adapter run all layers once: what is passed on the way costs nothing more.
    assert boundaries(20, trials=1, epochs=1) == [2, 4, 5]
    # Without such trials: from layer 2 on, three of four passes save two layers each, and to
    # compute these once takes two.
    assert boundaries(20, trials=2, epochs=1, frozen=False) == [2]
    assert boundaries(20, trials=1, epochs=1, frozen=False) == []
    split = prepare(
        space_file(SPACE.format(trials=1, gb=0, epochs=9, frozen="", poolings=[{"kind": "mean"}]))
    ).split
    parts = split.train, split.validation
    one = sum(len(part.ids) for part in parts) * 128 * 4 / 1e9  # a state is 128 numbers of 4 bytes
    assert split.test is not None
    ids = sum(part.ids.nbytes + part.starts.nbytes for part in (*parts, split.test))
    rest = 1.02 * (ids + sum(sum(part.counts) for part in parts) * 128 * 4) / 1e9  # the mean
    # Room for one: two kinds of trials start from layer 4, or one from 5, or three from 2.
    assert boundaries(rest + 1.03 * one) == [4]
    assert boundaries(rest + 1.01 * one) == [4]  # in part
    assert boundaries(rest + 3.05 * one) == [2, 4]
    assert boundaries(rest + 3.07 * one) == [2, 4, 5]
    assert boundaries(0.99 * rest) == []


def test_the_size_that_is_told_holds_everything(
    space_file: Callable[..., Path], tmp_path: Path
) -> None:
    text = SPACE.format(
        trials=50, gb=0.001, epochs=2, frozen="- {kind: none}", poolings=[{"kind": "mean"}]
    )
    told = prepare(space_file(text))
    found = re.search(
        r"take ([\d.e-]+) GB.*max_gb=([\d.e-]+) ", told.features.note(told.config.cache)
    )
    assert found and found[1] == found[2]
    changes = [f"cache.max_gb={found[1]}", f"cache.folder={tmp_path}"]
    prepared = prepare(space_file(text), changes)
    assert prepared.features.note(prepared.config.cache) == ""
    assert prepared.features.boundaries == (2, 4, 5)
    session = Session(
        prepared.session, prepared.split.train, prepared.split.validation, None, "cpu"
    )
    for trial in ({}, {"adapter": LORA | {"last_layers": 1}}):
        for _ in session.train(TrialConfig.of(prepared.config.model_dump() | trial)):
            pass
    assert session.notes == []
    assert session._features is not None
    assert sum(len(part.unstored) for part in session._features._sets.values()) == 0
    stored = sum(entry.size for entry in Store(tmp_path, 1e9).entries())
    assert 0.9 * float(found[1]) < stored / 1e9 <= float(found[1])
