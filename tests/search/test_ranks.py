"""Workers that share a batch do what one worker does with the whole of it.

Run as a program (``python test_ranks.py FOLDER RANK``) this file is one of the workers: a real
process under gloo, which writes what it has seen into the folder.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.distributed as dist

from components.base import BaseConfig, load
from search.data.corpus import load_corpora
from search.data.tokens import tokenise
from search.ranks import Ranks
from search.settings import DataSettings
from search.training import train
from search.trial import TrialConfig

WORKERS = 2
STEPS = 3
# Adam divides by the size of the gradient: where that is near zero, only its direction is known.
TOLERANCE = 1e-5

VARIETY: dict[str, dict[str, Any]] = {
    "lora, learned temperature": {
        "adapter": {"kind": "lora", "rank": 4, "targets": "all-linear", "last_layers": 2},
        "loss": {"kind": "info_nce", "learned": True},
    },
    "attention, mlp": {
        "pooling": {"kind": "attention", "heads": 2},
        "head": {"kind": "mlp", "width": 16, "hidden": 24},
    },
}
# Fewer pairs than a batch, and a number that two workers cannot share evenly.
ODD: dict[str, Any] = {"training": {"batch_size": 8, "pairs_per_epoch": 7}}


def epochs(sections: dict[str, Any]) -> list[dict[str, Any]]:
    """Train one step an epoch, as one of the workers or alone, and note everything."""
    base = load(BaseConfig(model="builtin:tiny", max_length=32, dtype="float32"))
    settings = DataSettings(
        train="builtin:cldr", languages=["en", "de", "ko"], train_rows=40, validation_rows=15
    )
    corpora = [tokenise(corpus, "en", base.tokenize) for corpus in load_corpora(settings)]
    config = TrialConfig.of(
        {
            "base": {"model": "builtin:tiny"},
            "head": {"kind": "linear", "width": 16},
            "training": {"batch_size": 8, "pairs_per_epoch": 8},
        }
        | sections
    )
    return [
        {
            "loss": report.loss,
            "scores": report.scores,
            "weights": report.checkpoint.weights,
            "moments": report.checkpoint.optimizer,
        }
        for report in train(config, base, *corpora, max_epochs=STEPS, ranks=Ranks())
    ]


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORKERS)
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
    found |= {name: epochs(sections) for name, sections in VARIETY.items()}
    found["odd"] = epochs(ODD)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two workers has seen."""
    folder = tmp_path_factory.mktemp("ranks")
    started = [
        subprocess.Popen([sys.executable, __file__, str(folder), str(rank)], stderr=subprocess.PIPE)
        for rank in range(WORKERS)
    ]
    try:
        errors = [process.communicate(timeout=200)[1].decode() for process in started]
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
                msg=lambda message, name=name: f"{name}: {message}",
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
            assert theirs["scores"].by_language == pytest.approx(ours["scores"].by_language)


@pytest.mark.parametrize("name", [*VARIETY, "odd"])
def test_both_workers_hold_the_same_weights(workers: list[dict[str, Any]], name: str) -> None:
    for one, other in zip(*(found[name] for found in workers), strict=True):
        assert one["scores"] == other["scores"]
        for key, value in one["weights"].items():
            assert torch.equal(value, other["weights"][key]), key


if __name__ == "__main__":
    work(int(sys.argv[2]), sys.argv[1])
