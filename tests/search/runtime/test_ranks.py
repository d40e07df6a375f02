"""Workers that share a batch do what one worker does with the whole of it.

Run as a program (``python test_ranks.py FOLDER RANK``) this file is one of the workers: a real
process under gloo, which writes what it has seen into the folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from copy import deepcopy
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from components.base import Base, BaseConfig, load
from components.encoder import assemble
from search.data.loading import load_corpora
from search.data.pairs import Pairs
from search.data.teachers import Teachers
from search.data.tokens import TokenisedCorpus, tokenise
from search.runtime.ranks import Ranks
from search.settings.trial import TrialConfig
from search.training.loop import train
from search.training.step import Objective, build_loss
from tests.search.conftest import data_settings

ROOT = Path(__file__).parents[3]
WORKERS = 2
STEPS = 3
TEACHER = "builtin:tiny"
LORA = {"kind": "lora", "rank": 4, "targets": "all-linear", "last_layers": 2}
TRAINING = {"batch_size": 8, "pairs_per_epoch": 8}
# Adam divides by the size of the gradient: where that is near zero, only its direction is known.
TOLERANCE = 1e-5

VARIETY: dict[str, dict[str, Any]] = {
    "lora, learned temperature": {
        "adapter": LORA,
        "loss": {"kind": "info_nce", "learned": True},
    },
    "attention, mlp": {
        "pooling": {"kind": "attention", "heads": 2},
        "head": {"kind": "mlp", "width": 16, "hidden": 24},
    },
    "moe, mined by the model, in chunks": {
        "head": {"kind": "moe", "width": 16, "experts": 3, "balance": 1.0},
        "negatives": {"kind": "mined", "count": 2, "pool": 30},
        "training": TRAINING | {"chunk_tokens": 60},
    },
    "families, mined by another, at two widths": {
        "adapter": LORA | {"kind": "family_lora"},
        "head": {"kind": "family", "width": 16},
        "negatives": {"kind": "mined", "encoder": TEACHER, "margin": None},
        "training": TRAINING | {"matryoshka": [6]},
    },
    "every loss, mined": {
        "adapter": LORA,
        "loss": {
            "kind": "sum",
            "weights": {"circle": 0.05, "triplet": 1.0, "mnrl": 1.0},
            "settings": {
                "triplet": {"negatives": "semi_hard"},
                "mnrl": {
                    "directions": ["query_to_doc", "doc_to_query", "query_to_query", "doc_to_doc"]
                },
            },
        },
        "negatives": {"kind": "mined", "count": 2, "pool": 30},
    },
    "distillation in chunks": {
        "adapter": LORA,
        "loss": {
            "kind": "sum",
            "weights": {"distillation": 5.0, "mnrl": 1.0},
            "settings": {"distillation": {"teacher": TEACHER}},
        },
        "training": TRAINING | {"chunk_tokens": 100, "matryoshka": [4, 8]},
    },
}
# Fewer pairs than a batch, and a number that two workers cannot share evenly.
ODD: dict[str, Any] = {"training": {"batch_size": 8, "pairs_per_epoch": 7}}
# One worker's half fits into a chunk, the other's does not.
UNEVEN: dict[str, dict[str, Any]] = {
    f"uneven chunks, {name}": sections | {"training": TRAINING | {"chunk_tokens": 165}}
    for name, sections in {
        "all trains": VARIETY["lora, learned temperature"],
        "only the loss trains": {
            "head": {"kind": "identity"},
            "loss": {"kind": "info_nce", "learned": True},
        },
    }.items()
}
VARIETY |= UNEVEN
# Each worker compares its own pairs only; nothing is clipped, so that the moments are gradients.
APART: dict[str, Any] = {
    "adapter": LORA,
    "head": {"kind": "moe", "width": 16, "experts": 3, "balance": 1.0},
    "loss": {"kind": "info_nce", "learned": True},
    "optimizer": {"clip_norm": 1e9},
    "training": TRAINING | {"gather": False},
}


@cache
def material() -> tuple[Base, TokenisedCorpus, TokenisedCorpus, Teachers]:
    base = load(BaseConfig(model="builtin:tiny", max_length=32, dtype="float32"))
    settings = data_settings(
        train="builtin:cldr", languages=["en", "de", "ko"], train_rows=40, validation_rows=15
    )
    texts = load_corpora(settings)
    corpus, validation = (tokenise(text, "en", base.tokenize) for text in texts)
    return base, corpus, validation, Teachers(texts[0], "en")


def trial(sections: dict[str, Any]) -> TrialConfig:
    return TrialConfig.of(
        {
            "base": {"model": "builtin:tiny"},
            "head": {"kind": "linear", "width": 16},
            "training": TRAINING,
        }
        | sections
    )


def epochs(sections: dict[str, Any]) -> list[dict[str, Any]]:
    """Train one step an epoch, as one of the workers or alone, and note everything."""
    base, corpus, validation, teachers = material()
    reports = train(
        trial(sections),
        base,
        corpus,
        validation,
        max_epochs=STEPS,
        teachers=teachers,
        ranks=Ranks(),
    )
    return [
        {
            "loss": report.loss,
            "scores": report.scores,
            "weights": deepcopy(report.checkpoint.weights),  # it goes on with them
            "moments": deepcopy(report.checkpoint.optimizer),
            "mined": report.checkpoint.mined,
        }
        for report in reports
    ]


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group(
        "gloo", meeting, rank=rank, world_size=WORKERS, timeout=timedelta(seconds=60)
    )
    ranks = Ranks()
    assert (ranks.rank, ranks.size) == (rank, WORKERS)
    # Each worker's loss sees its own rows with a weight of its own, so that swapped rows show.
    rows = torch.full((2, 3), float(rank), requires_grad=True)
    gathered = ranks.gather(rows)
    (gathered * torch.arange(12.0).view(4, 3) * (rank + 1)).sum().backward()
    found: dict[str, Any] = {
        "gathered": gathered.detach(),
        "gradient": rows.grad,
        "parts": [ranks.part(8), ranks.part(7)],
        "collected": ranks.collect({"rank": rank}),
        "agreed": ranks.agree(f"said by {rank}"),
    }
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1, 3).bfloat16())]
    weights[0].grad = torch.tensor([1.0, 2.0]) * (1 + 2 * rank)
    if rank:  # the other worker's batch has not reached this one
        weights[1].grad = torch.tensor([[2.0, 4.0, 6.0]]).bfloat16()
    ranks.average(weights)
    found["averaged"] = [weight.grad for weight in weights]
    found |= {name: epochs(sections) for name, sections in VARIETY.items()}
    found |= {"odd": epochs(ODD), "apart": epochs(APART)}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two workers has seen."""
    folder = tmp_path_factory.mktemp("ranks")
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder), str(rank)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
        )
        for rank in range(WORKERS)
    ]
    try:
        errors = [process.communicate(timeout=800)[1].decode() for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * WORKERS, "".join(errors)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(WORKERS)]


def assert_close(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left["loss"] == pytest.approx(right["loss"], abs=TOLERANCE)
    for part in ("weights", "moments"):
        assert left[part].keys() == right[part].keys()
        for name, value in left[part].items():
            torch.testing.assert_close(
                value, right[part][name], rtol=TOLERANCE, atol=TOLERANCE,
                msg=f"{name}: {{}}".format,
            )  # fmt: skip


def test_one_process_is_all_there_is() -> None:
    ranks = Ranks()
    rows = torch.randn(3, 2, requires_grad=True)
    assert (ranks.rank, ranks.size) == (0, 1)
    assert ranks.part(7) == slice(0, 7)
    assert ranks.gather(rows) is rows
    assert ranks.collect("value") == ["value"]
    assert ranks.agree("value") == "value"


def test_rows_are_gathered_in_order_and_gradients_come_back(workers: list[dict[str, Any]]) -> None:
    expected = torch.tensor([[0.0] * 3, [0.0] * 3, [1.0] * 3, [1.0] * 3])
    weights = torch.arange(12.0).view(4, 3)
    for rank, found in enumerate(workers):
        assert torch.equal(found["gathered"], expected)
        # The sum over both workers' losses: one weighs by 1, the other by 2.
        assert torch.equal(found["gradient"], 3 * weights[2 * rank : 2 * rank + 2])


def test_workers_share_a_batch_and_agree(workers: list[dict[str, Any]]) -> None:
    assert [found["parts"][0] for found in workers] == [slice(0, 4), slice(4, 8)]
    assert [found["parts"][1] for found in workers] == [slice(0, 3), slice(3, 6)]
    for found in workers:
        assert found["collected"] == [{"rank": 0}, {"rank": 1}]
        assert found["agreed"] == "said by 0"


def test_gradients_are_replaced_by_their_means(workers: list[dict[str, Any]]) -> None:
    for found in workers:
        first, second = found["averaged"]
        assert torch.equal(first, torch.tensor([2.0, 4.0]))
        assert torch.equal(second, torch.tensor([[1.0, 2.0, 3.0]]).bfloat16())
        assert second.dtype == torch.bfloat16


@pytest.mark.parametrize("name", VARIETY)
def test_two_workers_equal_one(workers: list[dict[str, Any]], name: str) -> None:
    alone = epochs(VARIETY[name])
    assert len(alone) == STEPS
    moved = {k for k, v in alone[-1]["weights"].items() if not v.equal(alone[0]["weights"][k])}
    assert moved == set(alone[0]["weights"])
    for found in workers:
        # Adam's first moment after one step is a tenth of the gradient, for each parameter.
        for ours, theirs in zip(alone, found[name], strict=True):
            assert_close(theirs, ours)
            assert (ours["mined"] is None) == ("mined" not in name)
            assert ours["mined"] is None or torch.equal(theirs["mined"], ours["mined"])
            assert theirs["scores"].by_language == pytest.approx(ours["scores"].by_language)


@pytest.mark.parametrize("name", UNEVEN)
def test_uneven_chunks_are_uneven(name: str) -> None:
    _, corpus, _, _ = material()
    settings = trial(UNEVEN[name]).training
    (batch,) = Pairs(corpus, 8, settings.language_temperature, settings.seed).epoch(0, 8)
    halves = [batch[:4], batch[4:]]
    tokens = [
        sum(corpus.lengths[side.language, side.row].sum() for side in (half.anchor, half.positive))
        for half in halves
    ]
    assert settings.chunk_tokens is not None
    assert min(tokens) <= settings.chunk_tokens < max(tokens)


def test_workers_that_do_not_gather_average_what_each_half_gives(
    workers: list[dict[str, Any]],
) -> None:
    base, corpus, _, _ = material()
    config = trial(APART)
    torch.manual_seed(config.training.seed)
    encoder = assemble(base, config.adapter, config.pooling, config.head, corpus.families)
    try:
        loss = build_loss(config, base.width, {})
        objective = Objective(encoder, loss, corpus, Ranks(), teachers={}, gather=False)
        temperature, seed = config.training.language_temperature, config.training.seed
        (batch,) = Pairs(corpus, 8, temperature, seed).epoch(0, 8)
        halves = [objective.backward(half) for half in (batch[:4], batch[4:])]
        apart = {}
        for name, parameter in objective.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None
                apart[name] = parameter.grad.clone() / 2
        objective.zero_grad()
        whole = objective.backward(batch)
    finally:
        encoder.close()
    assert abs(halves[0] - halves[1]) > 0.01
    for found in workers:
        first = found["apart"][0]
        assert first["loss"] == pytest.approx(float(sum(halves)) / 2, abs=TOLERANCE)
        assert first["loss"] != pytest.approx(float(whole), abs=0.01)
        for name, gradient in apart.items():
            # Adam's first moment after one step.
            torch.testing.assert_close(
                first["moments"][f"{name}/exp_avg"], gradient / 10, rtol=TOLERANCE, atol=TOLERANCE,
                msg=f"{name}: {{}}".format,
            )  # fmt: skip


@pytest.mark.parametrize("name", [*VARIETY, "odd", "apart"])
def test_both_workers_hold_the_same_weights(workers: list[dict[str, Any]], name: str) -> None:
    for one, other in zip(*(found[name] for found in workers), strict=True):
        assert (one["scores"], one["loss"]) == (other["scores"], other["loss"])
        for key, value in one["weights"].items():
            assert torch.equal(value, other["weights"][key]), key


if __name__ == "__main__":
    work(int(sys.argv[2]), sys.argv[1])
