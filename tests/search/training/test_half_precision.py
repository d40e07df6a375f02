"""A trial on a base in half precision, on the CPU and on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from components.base import Base, load
from search.data.tokens import TokenisedCorpus
from search.settings.trial import TrialConfig
from search.training.loop import EpochReport, train
from tests.search.training.checkpoint_files import collect, read_bytes, written

ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=ON_A_GPU)]
ADAPTERS: list[dict[str, Any]] = [
    {"kind": "unfrozen"},
    {"kind": "unfrozen", "last_layers": 2},
    {"kind": "unfrozen", "last_layers": 1, "embeddings": True},
    {"kind": "lora", "rank": 4, "targets": "all-linear", "last_layers": 2},
    {"kind": "family_lora", "rank": 4, "targets": "all-linear", "last_layers": 2},
]

Train = Callable[..., list[EpochReport]]


def config(adapter: dict[str, Any], dtype: str) -> TrialConfig:
    """A trial on whole passes, so that the epochs' losses are of the same pairs."""
    return TrialConfig.of(
        {
            "base": {"model": "builtin:tiny", "max_length": 32, "dtype": dtype},
            "head": {"kind": "identity"},
            "adapter": adapter,
            "optimizer": {"lr": 3e-3},
            "training": {"batch_size": 8},
        }
    )


@pytest.fixture(scope="module", params=DEVICES)
def half(request: pytest.FixtureRequest) -> Base:
    return load(config(ADAPTERS[0], "bfloat16").base, request.param)


@pytest.fixture
def trained(half: Base, corpora: tuple[TokenisedCorpus, TokenisedCorpus]) -> Train:
    def run(adapter: dict[str, Any], **options: Any) -> list[EpochReport]:
        trial = config(adapter, "bfloat16")
        return collect(train(trial, half, *corpora, **{"max_epochs": 3} | options))

    return run


@pytest.mark.parametrize("adapter", ADAPTERS, ids=str)
def test_a_trial_learns_in_float32_and_leaves_the_base_as_it_was(
    half: Base, trained: Train, adapter: dict[str, Any]
) -> None:
    before = {name: value.clone() for name, value in half.model.state_dict().items()}
    reports = trained(adapter)
    after = half.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert {value.dtype for value in after.values()} == {torch.bfloat16}
    assert reports[-1].loss < 0.9 * reports[0].loss
    weights = reports[-1].checkpoint.weights
    assert {value.dtype for value in weights.values()} == {torch.float32}
    # Something is there that the dtype of the base could not hold.
    rounded = [value.equal(value.to(torch.bfloat16).float()) for value in weights.values()]
    assert rounded and not any(rounded)


def test_a_resumed_trial_goes_on_as_if_nothing_had_been(half: Base, trained: Train) -> None:
    whole = trained(ADAPTERS[1])
    data = written(whole[0].checkpoint)
    resumed = trained(ADAPTERS[1], resume=read_bytes(data))
    on_cpu = half.device.type == "cpu"
    for one, other in zip(resumed, whole[1:], strict=True):
        assert one.loss == (other.loss if on_cpu else pytest.approx(other.loss, rel=0.02))
        for name, value in one.checkpoint.weights.items():
            close = 0.0 if on_cpu else 0.02
            torch.testing.assert_close(
                value, other.checkpoint.weights[name], rtol=close, atol=close
            )


def test_half_precision_trains_as_float32_does(
    half: Base, trained: Train, corpora: tuple[TokenisedCorpus, TokenisedCorpus]
) -> None:
    found = trained(ADAPTERS[0])
    trial = config(ADAPTERS[0], "float32")
    exact = load(trial.base, half.device)
    for one, other in zip(found, train(trial, exact, *corpora, max_epochs=3), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=0.05)
