"""What the tests of the search share: one small base, a few aligned phrases, short configs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.base import Base, BaseConfig, load
from search.data.corpus import Corpus
from search.data.loading import load_corpora
from search.data.settings import DataSettings
from search.data.tokens import TokenisedCorpus, tokenise
from search.settings.trial import TrialConfig
from search.training.loop import EpochReport

torch.set_num_threads(1)


def data_settings(**given: Any) -> DataSettings:
    """The section ``data`` as a space file gives it, with sources in their short forms."""
    return DataSettings.model_validate(given)


@pytest.fixture(scope="session")
def base() -> Base:
    return load(BaseConfig(model="builtin:tiny", max_length=32, dtype="float32"))


@pytest.fixture(scope="session")
def texts() -> tuple[Corpus, Corpus]:
    """Sentences to train on and to validate with, in three languages."""
    return load_corpora(
        data_settings(
            train="builtin:cldr",
            languages=["en", "de", "ko"],
            train_rows=40,
            validation_rows=16,
        )
    )


@pytest.fixture(scope="session")
def corpora(texts: tuple[Corpus, Corpus], base: Base) -> tuple[TokenisedCorpus, TokenisedCorpus]:
    train, validation = (tokenise(corpus, "en", base.tokenize) for corpus in texts)
    return train, validation


@pytest.fixture
def config() -> Callable[..., TrialConfig]:
    """A trial of two steps an epoch; its sections may be given."""

    def make(**sections: Any) -> TrialConfig:
        values: dict[str, Any] = {
            "base": {"model": "builtin:tiny", "max_length": 32, "dtype": "float32"},
            "head": {"kind": "linear", "width": 16},
            "training": {"batch_size": 8, "pairs_per_epoch": 16},
        }
        return TrialConfig.of(values | sections)

    return make


@pytest.fixture
def space_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a space file; base and data are added where the text has none."""

    def write(text: str) -> Path:
        for section in ("base: {model: builtin:tiny}", "data: {train: builtin:cldr}"):
            if not any(line.startswith(section[:5]) for line in text.splitlines()):
                text = f"{text.rstrip()}\n{section}\n"
        file = tmp_path / "space.yaml"
        file.write_text(text.lstrip("\n"), encoding="utf-8")
        return file

    return write


def assert_same(left: list[EpochReport], right: list[EpochReport]) -> None:
    """Two trials equal bit for bit, apart from the time taken."""
    assert left
    assert [report.epoch for report in left] == [report.epoch for report in right]
    for one, other in zip(left, right, strict=True):
        assert (one.loss, one.scores) == (other.loss, other.scores)
        assert one.trainable_parameters == other.trainable_parameters
        a, b = one.checkpoint, other.checkpoint
        assert list(a.weights) == list(b.weights)
        assert a.optimizer.keys() == b.optimizer.keys()
        for name, value in (a.weights | a.optimizer).items():
            assert torch.equal(value, (b.weights | b.optimizer)[name]), name
        assert torch.equal(a.random[0], b.random[0])
        assert (a.mined is None) == (b.mined is None)
        if a.mined is not None and b.mined is not None:
            assert torch.equal(a.mined, b.mined)
