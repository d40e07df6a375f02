"""The benchmark on a GPU, run here on a small base: its ways agree, and it counts right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.benchmarks.gpu import SHAPES, WAYS, Bench

SHAPE = replace(SHAPES["tiny"], rows=48)
LAYER = 64 * (4 + 2 + 2) * 16 + 4 * 16 * 64 + 3 * 64 * 128  # weights of q, k, v; o; the MLP


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(SHAPE, torch.device("cpu"), tmp_path_factory.mktemp("gpu"))


def test_all_ways_of_a_trial_are_the_same_trial(bench: Bench) -> None:
    found = dict(bench.run(steps=1))
    loss = {name: row["first loss"] for name, row in found.items() if name in WAYS}
    assert list(loss) == list(WAYS)
    assert loss["padded"] == pytest.approx(loss["all"], rel=1e-5)
    assert loss["last"] == loss["last, stored"]
    plain, *stored = (row["accuracy"] for row in found["search of eight trials, s"].values())
    assert len(plain) == 8
    assert all(scores == plain for scores in stored)
    assert all(
        row["MFU"] > 0 for name, row in found.items() if name in WAYS and "frozen" not in name
    )
    assert bench.base.attention == "packed"


def test_products_are_those_that_cannot_be_done_without(bench: Bench) -> None:
    assert bench.weights == [LAYER] * 4
    got = {name: bench.products(bench.adapted(at), way) for name, (at, way) in WAYS.items()}
    assert got == {
        "padded": 2 * (4 + 4) * LAYER,
        "all": 2 * (4 + 4) * LAYER,
        "last": 2 * (4 + 1) * LAYER,
        "last, stored": 2 * (1 + 1) * LAYER,
        "frozen, stored": 0,
    }


def test_what_is_built_is_what_the_steps_start_from(bench: Bench, tmp_path: Path) -> None:
    fresh = Bench(SHAPE, torch.device("cpu"), tmp_path)
    row, stored = fresh.build(peak=1e12)
    met = sum(fresh._tokens(batch) for batch in fresh.batches)
    # States at two boundaries, and six statistics of each sentence.
    assert stored > 2 * met * SHAPE.width * 4
    assert row["MFU"] == pytest.approx(2 * 4 * LAYER * row["tokens/s"] / 1e12)
    features = fresh.features("stored")
    with fresh._objective(fresh.trial(SHAPE.last), features) as (objective, _):
        objective.backward(fresh.batches[0])
    assert sum(one.layers_run for one in features._sets.values()) == 0
