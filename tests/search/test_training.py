"""Training one trial: nothing before it, and no interruption, leaves a trace in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from components.base import Base
from components.encoder import assemble
from components.ragged import Tokens
from search.checkpoint import Checkpoint
from search.data.tokens import TokenisedCorpus
from search.training import EpochReport, TrialError, schedule, train
from search.trial import OptimizerConfig, TrialConfig

EPOCHS = 3
LORA = {"kind": "lora", "rank": 2, "targets": "all-linear", "last_layers": 2, "dropout": 0.2}
VARIETY: list[dict[str, Any]] = [
    {"adapter": LORA, "loss": {"kind": "info_nce", "learned": True}},
    {"pooling": {"kind": "attention", "heads": 4}, "head": {"kind": "mlp", "width": 8,
                                                            "hidden": 12}},
    {"pooling": {"kind": "max"}, "training": {"batch_size": 4, "pairs_per_epoch": 12, "seed": 7}},
]  # fmt: skip

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


def assert_same(left: list[EpochReport], right: list[EpochReport]) -> None:
    """Equal bit for bit, apart from the time taken."""
    assert [report.epoch for report in left] == [report.epoch for report in right]
    for one, other in zip(left, right, strict=True):
        assert (one.loss, one.scores) == (other.loss, other.scores)
        assert one.trainable_parameters == other.trainable_parameters
        a, b = one.checkpoint, other.checkpoint
        assert a.weights.keys() == b.weights.keys()
        assert a.optimizer.keys() == b.optimizer.keys()
        for name, value in (a.weights | a.optimizer).items():
            assert torch.equal(value, (b.weights | b.optimizer)[name]), name
        assert torch.equal(a.random[0], b.random[0])


def run(config: TrialConfig, base: Base, corpora: Corpora, **options: Any) -> list[EpochReport]:
    return list(train(config, base, *corpora, **{"max_epochs": EPOCHS} | options))


@pytest.mark.parametrize("sections", VARIETY)
def test_a_config_trains_alike_alone_and_after_others(
    base: Base, corpora: Corpora, config: MakeConfig, sections: dict[str, Any]
) -> None:
    trial = config(**sections)
    alone = run(trial, base, corpora)
    for other in VARIETY:
        if other != sections:
            run(config(**other), base, corpora, max_epochs=1)
    torch.rand(17)  # whatever else drew numbers in this process
    assert_same(run(trial, base, corpora), alone)


@pytest.mark.parametrize("sections", VARIETY)
@pytest.mark.parametrize("epoch", [1, 2])
def test_resumed_equals_uninterrupted(
    base: Base, corpora: Corpora, config: MakeConfig, sections: dict[str, Any], epoch: int
) -> None:
    trial = config(**sections)
    whole = run(trial, base, corpora)
    data = whole[epoch - 1].checkpoint.to_bytes()
    torch.manual_seed(12345)
    resumed = run(trial, base, corpora, resume=Checkpoint.from_bytes(data))
    assert_same(resumed, whole[epoch:])
    assert resumed[0].seconds > whole[epoch - 1].seconds  # time goes on from where it stood


def test_training_learns_and_moves_what_trains(
    base: Base, corpora: Corpora, config: MakeConfig
) -> None:
    reports = run(config(**VARIETY[0]), base, corpora)
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert reports[-1].loss < reports[0].loss
    first, last = reports[0].checkpoint.weights, reports[-1].checkpoint.weights
    still = [name for name in first if torch.equal(first[name], last[name])]
    assert still == []
    assert any("lora_A" in name for name in first)
    assert "loss.log_temperature" in first
    head, lora, temperature = 128 * 16 + 16, reports[0].trainable_parameters, 1
    assert lora > head + temperature
    assert reports[0].trainable_parameters == sum(value.numel() for value in first.values())


@pytest.mark.parametrize("when", ["before the first epoch ends", "between epochs"])
def test_a_closed_trial_gives_the_base_back(
    base: Base, corpora: Corpora, config: MakeConfig, when: str
) -> None:
    reports = train(config(**VARIETY[0]), base, *corpora, max_epochs=EPOCHS)
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


def test_an_exception_in_mid_trial_gives_the_base_back(
    base: Base, corpora: Corpora, config: MakeConfig
) -> None:
    class LostError(Exception):
        pass

    def lose() -> bool:
        raise LostError

    with pytest.raises(LostError):
        run(config(**VARIETY[0]), base, corpora, interrupted=lose)


def test_a_setting_that_does_not_fit_gives_the_base_back(
    base: Base, corpora: Corpora, config: MakeConfig
) -> None:
    with pytest.raises(ValueError, match=r"adapter\.targets names 'nothing'"):
        run(config(adapter=LORA | {"targets": ["nothing"]}), base, corpora)
    with pytest.raises(ValueError, match=r"pooling\.heads is 3"):
        run(config(adapter=LORA, pooling={"kind": "attention", "heads": 3}), base, corpora)


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


@pytest.mark.parametrize("total", [1, 2, 10, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_the_rate_rises_then_never_rises_and_is_never_zero(
    kind: Any, warmup: float, total: int
) -> None:
    config = OptimizerConfig(lr=0.5, warmup=warmup, schedule=kind)
    rates = [schedule(config, step, total) for step in range(total)]
    assert all(0 < rate <= 0.5 for rate in rates)
    rising = math.ceil(warmup * total)
    assert rates[:rising] == sorted(rates[:rising])
    assert rates[rising:] == sorted(rates[rising:], reverse=True)


def test_the_rate_by_hand() -> None:
    def rates(kind: Any) -> list[float]:
        config = OptimizerConfig(lr=1.0, warmup=0.2, schedule=kind)
        return [schedule(config, step, 10) for step in range(10)]

    assert rates("constant") == pytest.approx([1 / 3, 2 / 3] + [1.0] * 8)
    assert rates("linear") == pytest.approx([1 / 3, 2 / 3] + [k / 8 for k in range(8, 0, -1)])
    cosine = [(1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)]
    assert rates("cosine") == pytest.approx([1 / 3, 2 / 3, *cosine])
