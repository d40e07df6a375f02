"""The benchmark compares like with like: every system starts from, and trains, the same model."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from components.base import BaseConfig, load
from components.base.structure import layers_of
from components.encoder import assemble
from search.data.pairs import Pairs
from tests.benchmarks.search_speed import measure, ours, peers, summary, workload
from tests.benchmarks.search_speed.workload import Size, Workload, make

SIZE = Size(rows=96, validation_rows=6, pairs_per_epoch=32, epochs=2, batch_size=16, width=16,
            last=(1, 2, 2, 3, 4))  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(workload.SIZES, "small", SIZE)
        return make("small", tmp_path_factory.mktemp("speed") / "work")


@pytest.mark.parametrize("number", range(16))
def test_every_system_starts_from_the_same_model(work: Workload, number: int) -> None:
    config = work.config(work.trials[number])
    base = load(BaseConfig(model=work.base, dtype="float32"))
    corpus, validation = work.corpora(base.tokenize)
    encoder = assemble(base, config.adapter, config.pooling, config.head, corpus.families)
    weights = load_file(work.folder / f"weights-{number}.safetensors")
    encoder.load_state_dict(weights)
    # Where a LoRA starts, it changes nothing; both sides must be changed alike to tell.
    for name in weights:
        if "lora_B" in name:
            weights[name] = torch.randn_like(weights[name])
    encoder.load_state_dict(weights)
    sentences = validation.present()
    with torch.no_grad():
        want = encoder(validation.tokens(sentences), validation.family(sentences))
    encoder.close()
    texts = [text for column in peers.Accuracy(work).texts.values() for text in column]
    for runs in (False, True):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(peers, "load_file", lambda file: weights)
            patched.setattr(peers, "RUN_TOKENS", 100)
            model = peers.build(work, number, peers.transformer(work), runs)
            got = model.encode(texts, convert_to_tensor=True)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


def test_every_system_meets_the_same_pairs(work: Workload) -> None:
    base = load(BaseConfig(model=work.base, dtype="float32"))
    corpus, _ = work.corpora(base.tokenize)
    training = work.config(work.trials[0]).training
    pairs = Pairs(corpus, SIZE.pairs_per_epoch, training.language_temperature, training.seed)
    batches = [b for epoch in range(SIZE.epochs) for b in pairs.epoch(epoch, SIZE.batch_size)]
    for sort in (False, True):
        rows = peers.pairs(work, sort)
        assert len(rows) == SIZE.epochs * SIZE.pairs_per_epoch
        for index, batch in enumerate(batches):
            part = rows[index * SIZE.batch_size : (index + 1) * SIZE.batch_size]
            for name, side in (("anchor", batch.anchor), ("positive", batch.positive)):
                lengths = [len(ids) for ids in base.tokenize(part[name])]
                want = corpus.lengths[side.language, side.row].tolist()
                assert (sorted(lengths) if sort else lengths) == (sorted(want) if sort else want)
            same = corpus.is_same(batch.anchor, batch.positive)
            assert (same == np.eye(len(batch), dtype=bool)).all()  # no false negatives


@pytest.mark.parametrize("number", [2, 8, 11])
def test_every_system_trains_to_the_same_scores(work: Workload, number: int) -> None:
    padded, unpadded, prefix = (
        ours.train_alone(work, number, rung) for rung in ("padded", "unpadded", "prefix")
    )
    assert prefix["losses"] == unpadded["losses"]
    # The loss multiplies cosines, which are near 1, by its scale: some units in their last place.
    assert padded["losses"] == pytest.approx(unpadded["losses"], rel=0, abs=workload.SCALE * 2**-22)
    peer = peers.train_alone(work, number)
    assert peer["accuracy"] == pytest.approx(unpadded["accuracy"], abs=1e-6)
    assert padded["accuracy"] == unpadded["accuracy"] == prefix["accuracy"]


def test_the_ceiling_counts_the_layers_of_every_trial(work: Workload) -> None:
    computed = {"P0": 30, "P1": 20, "ours": 16}
    counts = summary.Tokens(real=10, computed=computed, met=8, validation=5, depth=6, layer_flops=7)
    # Two epochs of six layers; nine frozen trials, five on the last, two on all layers.
    adapted = [0] * 9 + [1, 2, 2, 3, 4] + [6] * 2
    warm = sum(20 * n + 2 * 5 * n for n in adapted)
    built = 6 * (8 + 5)
    peers = {
        name: sum((6 + n) * c + 6 * 10 for n in adapted) for name, c in (("P0", 30), ("P1", 20))
    }
    found = summary.ceiling(work, counts)
    assert found == {
        name: {"cold": cost / (warm + built), "warm": cost / warm} for name, cost in peers.items()
    }
    assert summary.products(work, counts) == {"cold": 7 * (warm + built), "warm": 7 * warm}


def test_the_limit_is_the_time_of_the_products_at_the_rate_of_the_run(work: Workload) -> None:
    needed = {"cold": 4_000, "warm": 1_000}
    trials = [{"accuracy": 0.5, "busy_s": 2.0, "wall_s": 3.0, "losses": []}] * 16
    runs = [
        {"repeat": repeat, "system": system, "cpu_s": cpu_s, "wall_s": 50.0, "peak_gb": 1.0,
         "stored_bytes": 0, "trials": trials, "mm_flops_per_s": rate}
        for repeat, rate in enumerate((100.0, 50.0, 200.0))
        for system, cpu_s in (("cold", 60.0), ("warm", 40.0))
    ]  # fmt: skip
    found = summary.summarise(work, runs, needed)
    assert found["limit"]["cold"] == {"median": 1.5, "least": 0.75, "most": 3.0}
    assert found["limit"]["warm"]["median"] == 4.0
    assert found["outside trials"]["cold"]["median"] == 60 - 32
    assert "cold: 1.50 times its arithmetic limit, 28 CPU s outside trials" in summary.table(found)


def test_the_rate_of_products_is_that_of_a_processor() -> None:
    assert 1e8 < measure.mm_rate(64, 64, 64) < 1e13


def test_tokens_are_counted_as_the_systems_compute_them(work: Workload) -> None:
    counts = summary.tokens(work)
    base = load(BaseConfig(model=work.base, dtype="float32"))
    assert counts.depth == 6  # of the built-in base
    linear = [m for m in layers_of(base.model)[1][0].modules() if isinstance(m, torch.nn.Linear)]
    assert len(linear) == 7
    assert counts.layer_flops == 2 * sum(m.in_features * m.out_features for m in linear)
    rows = peers.pairs(work, sort=False)
    lengths = {side: list(map(len, base.tokenize(list(rows[side])))) for side in rows.column_names}
    batches = [
        column[start : start + SIZE.batch_size]
        for column in lengths.values()
        for start in range(0, len(column), SIZE.batch_size)
    ]
    assert counts.real == sum(map(sum, batches))
    assert counts.computed["P0"] == sum(len(batch) * max(batch) for batch in batches)
    assert counts.real < counts.computed["ours"] < counts.real + 16 * len(batches)
    assert counts.met == counts.real  # 64 of 96 pairs: none comes twice


def test_the_clock_counts_processes_that_outlive_their_parents(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 1: pass\ntime.sleep(1)"
    between = f"""if True:
        import subprocess, sys, time
        subprocess.Popen([sys.executable, "-c", {burn!r}])
        time.sleep(0.6)
    """
    # The pipe closes when the process that burns ends, long after the one between.
    command = f"""if True:
        import subprocess, sys
        held = bytearray(200_000_000)
        subprocess.run([sys.executable, "-c", {between!r}], stdout=subprocess.PIPE)
    """
    cost = measure.run([sys.executable, "-c", command], tmp_path / "log.txt", {})
    assert 1 <= cost.cpu_s < 5
    assert cost.wall_s >= 2
    assert 0.2 <= cost.peak_gb < 0.4
    with pytest.raises(SystemExit, match="ended with 1"):
        measure.run([sys.executable, "-c", "1 / 0"], tmp_path / "log.txt", {})
