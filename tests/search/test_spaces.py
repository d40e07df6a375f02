"""The space files that come with the project: each loads, and both ends of every domain build."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from components.base import Base
from components.encoder import assemble
from components.ragged import Tokens
from search.runs.prepare import Prepared, prepare
from search.sampling.draws import draw
from search.settings.trial import TrialConfig
from search.space.domains import Choice, Range, reference
from search.space.probes import probes
from search.training.step import build_loss
from tests.components.conftest import embedded

FOLDER = Path(__file__).parents[2] / "spaces"
FILES = sorted(FOLDER.glob("*.yaml"))


def test_there_are_some() -> None:
    assert FILES
    assert {file for file in FOLDER.iterdir() if file not in FILES} == {FOLDER / "schema.json"}


@pytest.fixture(scope="module", params=FILES, ids=lambda file: file.stem)
def prepared(request: pytest.FixtureRequest) -> Prepared:
    return prepare(request.param)


def test_both_ends_of_every_domain_build_and_run(prepared: Prepared, base: Base) -> None:
    taken: dict[str, set[str]] = {name: set() for name in prepared.space.domains()}
    assert taken, "a space without domains is a single trial"
    built = {}
    for probe in probes(prepared.space):
        trial = TrialConfig.of(probe.values)
        parts = (trial.adapter, trial.pooling, trial.head)
        if str(parts) not in built:
            encoder = assemble(base, *parts, prepared.split.train.families)
            family = torch.tensor([0, 1])
            emb = encoder(Tokens.of([[5, 6, 7], [8]]), family)
            built[str(parts)] = emb.shape
            encoder.close()
            assert emb.isfinite().all()
        width = trial.head.out(base.width)
        widths = {model.name: width for model, width in prepared.others.items()}
        loss = build_loss(trial, base.width, widths)
        vectors = torch.eye(width)[:3]
        taught = {name: torch.eye(size)[:3] for name, size in widths.items()}
        meaning = torch.arange(3)
        assert loss(embedded(vectors, vectors, meaning, vectors, meaning + 3, taught)).isfinite()
    values, picks = reference(prepared.space)
    TrialConfig.of(values)
    assert set(picks) <= set(taken)


def test_its_features_are_planned(prepared: Prepared) -> None:
    """Every pooling of a space says which statistics it reads, and these are planned."""
    read = [TrialConfig.of(p.values).pooling.build(128).statistics for p in probes(prepared.space)]
    known = [names for names in read if names is not None]
    assert set(prepared.features.statistics) == frozenset().union(*known)
    assert "mean" in prepared.features.statistics


def test_what_is_drawn_from_it_is_a_trial(prepared: Prepared) -> None:
    settings = prepared.config.search.sampler
    for values in draw(prepared.space, settings, min(12, prepared.trials), prepared.conflict):
        assert not prepared.conflict(values)
        prepared.trainable_parameters(values)
    for domain in prepared.space.domains().values():
        if isinstance(domain, Choice):
            assert len(domain.options) > 1, "a choice of one is a value"
        if isinstance(domain, Range):
            assert domain.low < domain.high, "a range of one number is a value"
