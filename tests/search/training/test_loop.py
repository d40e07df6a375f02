"""Training one trial: nothing before it, and no interruption, leaves a trace in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
from torch import Tensor, nn

from components.base import Base
from components.base.locate import locate
from components.encoder import assemble
from components.other_model import OtherModel
from components.ragged import Tokens
from search.data.corpus import Corpus
from search.data.negatives import mine
from search.data.pairs import Pairs
from search.data.teachers import Teachers
from search.data.tokens import Sentences, TokenisedCorpus
from search.evaluation.retrieval import encode
from search.runtime.ranks import Ranks
from search.settings.negatives.mined import MinedNegatives
from search.settings.trial import OptimizerConfig, TrialConfig
from search.training.checkpoint import restore_weights
from search.training.loop import (
    EpochReport,
    TrialError,
    TrialMemoryError,
    train,
)
from search.training.step import Objective
from tests.search.conftest import assert_same
from tests.search.training.checkpoint_files import collect, read_bytes, written
from tests.search.training.test_optimizer import slow_schedule

CUDA = torch.cuda.is_available()

EPOCHS = 3
TEACHER = "builtin:tiny"
LORA = {"kind": "lora", "rank": 2, "targets": "all-linear", "last_layers": 2, "dropout": 0.2}
UNFROZEN = {"kind": "unfrozen", "last_layers": 2}
SHORT = {"batch_size": 8, "pairs_per_epoch": 16}
VARIETY: list[dict[str, Any]] = [
    {"adapter": LORA, "loss": {"kind": "info_nce", "learned": True}},
    {"pooling": {"kind": "attention", "heads": 4}, "head": {"kind": "mlp", "width": 8,
                                                            "hidden": 12}},
    {"pooling": {"kind": "max"}, "training": {"batch_size": 4, "pairs_per_epoch": 12, "seed": 7}},
    {"adapter": LORA | {"kind": "family_lora", "targets": "auto"},
     "head": {"kind": "moe", "width": 8},
     "negatives": {"kind": "mined", "every": 2, "count": 2, "pool": 20},
     "training": SHORT | {"chunk_tokens": 200, "matryoshka": [4]}},
    {"negatives": {"kind": "mined", "encoder": "<a model>", "margin": None},
     "loss": {"kind": "sum", "weights": {"info_nce": 1.0, "distillation": 2.0},
              "settings": {"distillation": {"teacher": TEACHER}}}},
    {"adapter": UNFROZEN, "optimizer": {"base_lr": 1e-3, "layer_decay": 0.5}},
]  # fmt: skip
# What a trial may ask for beyond its components, one at a time.
SETTINGS: dict[str, dict[str, Any]] = {
    "mined": {"negatives": {"kind": "mined"}},
    "mined in turn": {
        "negatives": {"kind": "mined", "count": 2, "margin": None},
        "loss": {"kind": "triplet", "negatives": "mined"},
    },
    "mined by another": {"negatives": {"kind": "mined", "encoder": TEACHER, "pool": None}},
    "matryoshka": {"training": SHORT | {"matryoshka": [8, 2]}},
    "chunks": {"adapter": LORA, "training": SHORT | {"chunk_tokens": 100}},
    "checkpointed": {"adapter": LORA, "training": SHORT | {"activation_checkpointing": True}},
    "unfrozen": {"adapter": UNFROZEN},
    "unfrozen with embeddings": {"adapter": {"kind": "unfrozen", "embeddings": True}},
    "alone": {"training": SHORT | {"gather": False}},
    "one language": {"training": SHORT | {"one_language": True}},
    "gist": {"loss": {"kind": "gist", "teacher": TEACHER}},
    "similarities": {"loss": {"kind": "kl_distillation", "teacher": TEACHER}},
    "margins": {"loss": {"kind": "margin_mse", "teacher": TEACHER}},
    "mse": {"loss": {"kind": "distillation", "teacher": TEACHER}},
    "cosine": {"loss": {"kind": "distillation", "teacher": TEACHER, "distance": "cosine"}},
    "families": {
        "adapter": LORA | {"kind": "family_lora", "shared": True},
        "head": {"kind": "family", "width": 16},
    },
    "experts": {"head": {"kind": "moe", "width": 16}},
}

MakeConfig = Callable[..., TrialConfig]
Corpora = tuple[TokenisedCorpus, TokenisedCorpus]


@pytest.fixture(autouse=True)
def base_is_given_back(base: Base) -> Iterator[None]:
    """Whatever a test does, the base is afterwards as it was, bit for bit."""
    before = fingerprint(base)
    weights = {name: value.clone() for name, value in base.model.state_dict().items()}
    yield
    after = base.model.state_dict()
    assert list(after) == list(weights)
    for name, value in weights.items():
        assert torch.equal(after[name], value), name
    assert torch.equal(fingerprint(base), before)
    assert not any(p.requires_grad for p in base.model.parameters())
    assert not any(module.training for module in base.model.modules())


def fingerprint(base: Base) -> Tensor:
    with torch.no_grad():
        return base(Tokens.of([[5, 6, 7], [8, 9], list(range(10, 30))])).values_TD


@pytest.fixture(scope="module")
def miner(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose loading draws random numbers, for its own layer."""
    folder = tmp_path_factory.mktemp("miner")
    torch.manual_seed(0)
    modules = [Transformer(locate(TEACHER)), Pooling(128, "mean"), Dense(128, 24)]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return str(folder)


@pytest.fixture
def config(config: MakeConfig, miner: str) -> MakeConfig:
    """The same, with a real model in place of the name that stands for one."""

    def make(**sections: Any) -> TrialConfig:
        negatives = sections.get("negatives", {"kind": "none"})
        if negatives.get("encoder") == "<a model>":
            sections |= {"negatives": negatives | {"encoder": miner}}
        return config(**sections)

    return make


@pytest.fixture
def teachers(texts: tuple[Corpus, Corpus]) -> Teachers:
    return Teachers(texts[0], "en")


def run(config: TrialConfig, base: Base, corpora: Corpora, **options: Any) -> list[EpochReport]:
    return collect(train(config, base, *corpora, **{"max_epochs": EPOCHS} | options))


@pytest.fixture(scope="module")
def known() -> dict[str, list[EpochReport]]:
    return {}


@pytest.fixture
def alone(
    base: Base,
    corpora: Corpora,
    texts: tuple[Corpus, Corpus],
    known: dict[str, list[EpochReport]],
) -> Callable[[TrialConfig], list[EpochReport]]:
    """What a trial reports that finds nothing loaded and is not interrupted."""

    def made(trial: TrialConfig) -> list[EpochReport]:
        key = str(trial)
        if key not in known:
            known[key] = run(trial, base, corpora, teachers=Teachers(texts[0], "en"))
        return known[key]

    return made


Alone = Callable[[TrialConfig], list[EpochReport]]


@pytest.mark.parametrize("index", range(len(VARIETY)))
def test_a_config_trains_alike_alone_and_after_others(
    base: Base, corpora: Corpora, teachers: Teachers, config: MakeConfig, alone: Alone, index: int
) -> None:
    trial = config(**VARIETY[index])
    expected = alone(trial)
    # As in a lane: what one trial loads, the next finds there.
    for other in (VARIETY[index], VARIETY[index - 1]):
        run(config(**other), base, corpora, max_epochs=1, teachers=teachers)
    torch.rand(17)  # whatever else drew numbers in this process
    assert_same(run(trial, base, corpora, teachers=teachers), expected)


@pytest.mark.parametrize("sections", VARIETY)
@pytest.mark.parametrize("epoch", [1, 2])
def test_resumed_equals_uninterrupted(
    base: Base,
    corpora: Corpora,
    teachers: Teachers,
    config: MakeConfig,
    alone: Alone,
    sections: dict[str, Any],
    epoch: int,
) -> None:
    trial = config(**sections)
    whole = alone(trial)
    data = written(whole[epoch - 1].checkpoint)
    torch.manual_seed(12345)
    resumed = run(trial, base, corpora, teachers=teachers, resume=read_bytes(data))
    assert_same(resumed, whole[epoch:])
    assert resumed[0].seconds > whole[epoch - 1].seconds  # time goes on from where it stood


def test_training_learns_and_moves_what_trains(
    base: Base, corpora: Corpora, config: MakeConfig
) -> None:
    # Whole passes, so that the epochs' losses are of the same pairs.
    whole = VARIETY[0] | {"training": {"batch_size": 8}}
    reports = run(config(**whole), base, corpora)
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert reports[-1].loss < 0.9 * reports[0].loss
    first, last = reports[0].checkpoint.weights, reports[-1].checkpoint.weights
    still = [name for name in first if torch.equal(first[name], last[name])]
    assert still == []
    assert any("lora_A" in name for name in first)
    assert "loss.log_temperature" in first
    head, lora, temperature = 128 * 16 + 16, reports[0].trainable_parameters, 1
    assert lora > head + temperature
    assert reports[0].trainable_parameters == sum(value.numel() for value in first.values())


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_trains(
    base: Base, corpora: Corpora, config: MakeConfig, teachers: Teachers, name: str
) -> None:
    first, last = run(config(**SETTINGS[name]), base, corpora, max_epochs=2, teachers=teachers)
    assert all(math.isfinite(report.loss) and report.loss > 0 for report in (first, last))
    assert (last.checkpoint.mined is None) == ("mined" not in name)
    weights = last.checkpoint.weights
    still = [key for key, value in weights.items() if value.equal(first.checkpoint.weights[key])]
    assert still == []
    assert ("loss.map.weight" in weights) == (name in ("mse", "cosine"))


@pytest.mark.parametrize("name", ["alone", "chunks"])
def test_what_changes_nothing_changes_nothing(
    base: Base, corpora: Corpora, config: MakeConfig, name: str
) -> None:
    """One worker gathers nothing, and chunks save memory only."""
    sections = SETTINGS[name] | {"adapter": LORA | {"dropout": 0.0}}
    found = run(config(**sections), base, corpora)
    for one, other in zip(found, run(config(**sections | {"training": SHORT}), base, corpora),
                          strict=True):  # fmt: skip
        assert one.loss == pytest.approx(other.loss, abs=1e-5)
        for key, value in one.checkpoint.weights.items():
            torch.testing.assert_close(value, other.checkpoint.weights[key], rtol=1e-5, atol=1e-5)


def test_activation_checkpointing_changes_nothing_but_what_is_kept(
    base: Base, corpora: Corpora, config: MakeConfig, alone: Alone
) -> None:
    """Not even the numbers that dropout draws."""
    plain = alone(config(adapter=LORA, training=SHORT))
    assert_same(run(config(**SETTINGS["checkpointed"]), base, corpora), plain)


def test_chunks_are_in_force(base: Base, corpora: Corpora, config: MakeConfig) -> None:
    """They draw other numbers for the dropout."""
    chunked = run(config(**SETTINGS["chunks"]), base, corpora, max_epochs=1)
    whole = run(config(**SETTINGS["chunks"] | {"training": SHORT}), base, corpora, max_epochs=1)
    assert abs(chunked[0].loss - whole[0].loss) > 1e-5


def mined(report: EpochReport) -> Tensor:
    assert report.checkpoint.mined is not None
    return report.checkpoint.mined


def test_negatives_are_those_of_the_model_as_it_is_when_they_are_due(
    base: Base, corpora: Corpora, config: MakeConfig
) -> None:
    settings = MinedNegatives(every=2, count=2, pool=30)
    trial = config(adapter=LORA, negatives=settings.model_dump())
    reports = run(trial, base, corpora)
    assert torch.equal(mined(reports[0]), mined(reports[1]))
    assert not torch.equal(mined(reports[1]), mined(reports[2]))
    corpus, training = corpora[0], trial.training
    pairs = Pairs(corpus, training.pairs_per_epoch, training.language_temperature, training.seed)
    torch.manual_seed(training.seed)
    encoder = assemble(base, trial.adapter, trial.pooling, trial.head)
    try:
        for epochs, report in ((range(2), reports[0]), (range(2, 3), reports[2])):
            if epochs.start:
                restore_weights(reports[epochs.start - 1].checkpoint.part("encoder."), encoder)
            expected = mine(
                settings.mining(), pairs, corpus, epochs,
                lambda some: encode(encoder.eval(), corpus, some, Ranks()), training.seed,
            )  # fmt: skip
            assert mined(report).tolist() == expected.tolist()
    finally:
        encoder.close()


def test_negatives_of_another_model_are_found_by_that(
    base: Base, corpora: Corpora, config: MakeConfig, teachers: Teachers, miner: str
) -> None:
    settings = MinedNegatives(encoder=miner, pool=20, margin=None)
    trial = config(negatives=settings.model_dump())
    first, second, _ = run(trial, base, corpora, teachers=teachers)
    corpus, training = corpora[0], trial.training
    pairs = Pairs(corpus, training.pairs_per_epoch, training.language_temperature, training.seed)

    def theirs(sentences: Sentences) -> Tensor:
        return teachers.sentences(OtherModel(miner), sentences)

    for epoch, report in enumerate((first, second)):
        expected = mine(
            settings.mining(), pairs, corpus, range(epoch, epoch + 1), theirs, training.seed
        )
        assert mined(report).tolist() == expected.tolist()


def test_a_teacher_takes_part(
    base: Base, corpora: Corpora, texts: tuple[Corpus, Corpus], config: MakeConfig, miner: str
) -> None:
    """The same trial under two teachers of different widths ends elsewhere."""
    reports = [
        run(config(loss={"kind": "distillation", "teacher": name}), base, corpora, max_epochs=1,
            teachers=Teachers(texts[0], "en"))[0]
        for name in (TEACHER, miner)
    ]  # fmt: skip
    shapes = [report.checkpoint.weights["loss.map.weight"].shape for report in reports]
    assert shapes == [(128, 16), (24, 16)]
    assert [r.trainable_parameters for r in reports] == [129 * 16 + n * 16 for n in (128, 24)]


@pytest.mark.parametrize("adapter", [LORA, UNFROZEN, {"kind": "unfrozen", "embeddings": True}])
@pytest.mark.parametrize("when", ["before the first epoch ends", "between epochs"])
def test_a_closed_trial_gives_the_base_back(
    base: Base, corpora: Corpora, config: MakeConfig, when: str, adapter: dict[str, Any]
) -> None:
    reports = train(config(adapter=adapter), base, *corpora, max_epochs=EPOCHS)
    if when == "between epochs":
        next(reports)
    reports.close()


def test_an_interrupted_trial_stops_before_its_next_step(
    base: Base, corpora: Corpora, config: MakeConfig
) -> None:
    asked = []

    def third_time() -> bool:
        asked.append(True)
        return len(asked) >= 4

    reports = run(config(**VARIETY[0]), base, corpora, interrupted=third_time)
    assert len(reports) == 1  # two steps an epoch
    assert len(asked) == 4


@pytest.mark.parametrize("adapter", [LORA, UNFROZEN, {"kind": "unfrozen", "embeddings": True}])
def test_an_exception_in_mid_trial_gives_the_base_back(
    base: Base, corpora: Corpora, config: MakeConfig, adapter: dict[str, Any]
) -> None:
    class LostError(Exception):
        pass

    asked = []

    def lose() -> bool:
        asked.append(True)
        if len(asked) > 1:  # after a step, which has moved the weights
            raise LostError
        return False

    with pytest.raises(LostError):
        run(config(adapter=adapter), base, corpora, interrupted=lose)


def test_a_setting_that_does_not_fit_gives_the_base_back(
    base: Base, corpora: Corpora, config: MakeConfig
) -> None:
    with pytest.raises(ValueError, match=r"adapter\.targets names 'nothing'"):
        run(config(adapter=LORA | {"targets": ["nothing"]}), base, corpora)
    with pytest.raises(ValueError, match=r"pooling\.heads is 3"):
        run(config(adapter=LORA, pooling={"kind": "attention", "heads": 3}), base, corpora)
    with pytest.raises(ValueError, match=r"training\.matryoshka names 16"):
        run(config(adapter=LORA, training={"matryoshka": [16]}), base, corpora)


def test_a_checkpoint_of_another_trial_is_refused(
    base: Base, corpora: Corpora, config: MakeConfig
) -> None:
    taken = run(config(), base, corpora, max_epochs=1)[0].checkpoint
    with pytest.raises(ValueError, match="of another model"):
        run(config(**VARIETY[0]), base, corpora, resume=taken)


def test_a_loss_that_is_no_number_is_a_failed_trial(
    base: Base, corpora: Corpora, config: MakeConfig
) -> None:
    taken = run(config(), base, corpora, max_epochs=1)[0].checkpoint
    spoilt = {name: torch.full_like(value, math.nan) for name, value in taken.weights.items()}
    with pytest.raises(TrialError, match="the loss is nan in epoch 2"):
        run(config(), base, corpora, resume=replace(taken, weights=spoilt))


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not CUDA, reason="needs a GPU"))],
)
def test_memory_that_runs_out_is_a_failed_trial_that_names_its_batch(
    base: Base, corpora: Corpora, config: MakeConfig, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(*_: Any) -> Tensor:
        return torch.empty(2**50, device=device)  # the allocator's own error

    monkeypatch.setattr(Objective, "backward", forward)
    with pytest.raises(TrialMemoryError, match=r"a batch of \d+ pairs.*training\.chunk_tokens"):
        run(config(), base, corpora)


def test_what_diverges_in_the_last_step_is_found_in_the_scores(
    base: Base, corpora: Corpora, config: MakeConfig
) -> None:
    class Poisoned(nn.Module):
        def forward(self, states: Any) -> Tensor:
            pooled: Tensor = states.mean
            return pooled * (1.0 if torch.is_grad_enabled() else math.inf)  # only in scoring

    class Pooling:
        def build(self, width: int) -> nn.Module:
            return Poisoned()

    spoilt = config().model_copy(update={"pooling": Pooling()})
    with pytest.raises(TrialError, match="an embedding is not finite after epoch 1"):
        run(spoilt, base, corpora)


def test_two_encoders_start_from_the_same_fresh_weights(base: Base, config: MakeConfig) -> None:
    trial = config(**VARIETY[0])
    found = []
    for _ in range(2):
        torch.manual_seed(trial.training.seed)
        encoder = assemble(base, trial.adapter, trial.pooling, trial.head)
        found.append({name: value.clone() for name, value in encoder.state_dict().items()})
        encoder.close()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_trial_meets_the_rates_of_its_schedule_also_when_resumed(
    config: MakeConfig,
    base: Base,
    corpora: Corpora,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    met: list[list[tuple[float, float]]] = []
    step = torch.optim.AdamW.step

    def noting(optimizer: torch.optim.AdamW, *args: Any, **options: Any) -> Any:
        met.append([(g["lr"], g["weight_decay"]) for g in optimizer.param_groups])
        return step(optimizer, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", noting)
    optimizer = OptimizerConfig(lr=0.01, warmup=0.5, schedule="cosine", weight_decay=0.3)
    trial = config(optimizer=optimizer.model_dump(), training=SHORT | {"pairs_per_epoch": 32})
    first = run(trial, base, corpora, rung_epochs=2)
    whole, met[:] = list(met), []
    run(trial, base, corpora, rung_epochs=2, resume=first[0].checkpoint)
    # The matrix of the linear head decays, its bias does not.
    assert all([decay for _, decay in groups] == [0.3, 0.0] for groups in whole)
    expected = slow_schedule(optimizer, EPOCHS, 4, 2)
    assert [[rate for rate, _ in groups] for groups in whole] == [
        pytest.approx([rate, rate]) for rate in expected
    ]
    assert met == whole[4:]
