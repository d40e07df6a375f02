"""What training steps, the building of the cache and a search of eight trials take on a GPU.

    python -m tests.benchmarks.gpu --shape 0.6b|8b --json FILE [--steps 20]

The base is a random decoder of the shape of Qwen3's of that size, in bfloat16; sentences have the
token counts of the list of cures. A step is the whole of one: forward, loss, backward. Its ways are

    padded           LoRA on all layers, batches padded
    all              LoRA on all layers
    last             LoRA on the last layers, from the tokens
    last, stored     the same from the states below them, stored before
    frozen, stored   no adapter, from stored statistics
    build            no step: states below the last layers and statistics of the last ones, and
                     their writing

Of each: seconds (median, least and most of all steps but the first five), real tokens a second, the
most memory, and MFU: the matrix products of real tokens in the layers that it cannot do without
(2 P a token forward, 2 P backward to what enters a layer, P weights; LoRA, attention and padding
count for nothing), beside the product of two large matrices, measured here. The search is eight
trials in one process that keeps its base, as a lane does, from tokens and from what is stored.

Without a GPU, `--shape tiny` shows that it runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3Model

from components.base import Base
from components.base.structure import layers_of
from components.encoder import assemble
from search.data.corpus import Corpus
from search.data.pairs import Batch, Pairs
from search.data.tokens import tokenise
from search.features import FeaturePlan, Features, plain_feed
from search.runtime.ranks import Ranks
from search.runtime.store import Store
from search.settings.trial import TrialConfig
from search.training.loop import train
from search.training.step import Objective, build_loss
from tests.benchmarks.search_speed.workload import (
    MAX_LENGTH,
    PIVOT,
    WORDS,
    Size,
    invented,
    word_tokenizer,
)

WARM_UP = 5
LORA = ["q_proj", "v_proj"]


@dataclass(frozen=True)
class Shape:
    """A decoder, and what it is trained on.

    Attributes:
        inner: width inside the MLP.
        head: width of an attention head.
        last: how many layers are adapted where not all are.
        batch: pairs a step.
        rows: pairs there are.
    """

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    last: int
    batch: int
    rows: int

    def config(self) -> Qwen3Config:
        """As transformers has it."""
        return Qwen3Config(
            vocab_size=WORDS + 2,
            hidden_size=self.width,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.head,
            max_position_embeddings=MAX_LENGTH,
            pad_token_id=0,
        )


SHAPES = {
    "tiny": Shape(4, 64, 128, 4, 2, 16, last=1, batch=16, rows=96),
    "0.6b": Shape(28, 1024, 3072, 16, 8, 128, last=4, batch=512, rows=20_000),
    "8b": Shape(36, 4096, 12_288, 32, 8, 128, last=4, batch=128, rows=4_000),
}


def main() -> None:
    """Measure and write the figures down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--json", type=Path, metavar="FILE", required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument(
        "--rows", type=int, help="rows of sentences; fewer than the shape's take less"
    )
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory(prefix="isogloss-gpu-") as scratch:
        shape = SHAPES[options.shape]
        shape = replace(shape, rows=options.rows or shape.rows)
        found: dict[str, Any] = {"shape": options.shape, "rows": shape.rows}
        # Written after each figure: a run that is cut short leaves those that it has.
        for name, figure in Bench(shape, device, Path(scratch)).run(options.steps):
            found[name] = figure
            options.json.write_text(json.dumps(found, indent=1))
            print(f"{name}: {json.dumps(figure)}", flush=True)


class Bench:
    """A base, sentences and a store on a device."""

    def __init__(self, shape: Shape, device: torch.device, scratch: Path) -> None:
        self.shape = shape
        self.device = device
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.base = self._load()
        size = Size(shape.rows, 64, shape.rows, 1, shape.batch, shape.width, ())
        self.corpus, self.validation = (
            tokenise(Corpus.of(columns), PIVOT, self.base.tokenize) for columns in invented(size)
        )
        self.weights = [_products(layer) for layer in layers_of(self.base.model)[1]]
        self._scratch = scratch
        pairs = Pairs(self.corpus, None, 1.0, 0)
        self.batches = list(pairs.epoch(0, shape.batch))

    def _load(self) -> Base:
        """Made where it runs, since a large one takes minutes otherwise."""
        torch.manual_seed(0)
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            with torch.device(self.device):
                model = Qwen3Model(self.shape.config())
        finally:
            torch.set_default_dtype(before)
        base = Base(model, word_tokenizer(), MAX_LENGTH)
        if not base.pack():
            raise SystemExit("the base does not run packed here")
        return base

    def features(self, folder: str) -> Features:
        """A store in a folder of its own; what is there is not computed again."""
        base, shape = self.base, self.shape
        boundaries = [shape.layers - shape.last, shape.layers]
        store = Store(self._scratch / folder, most=1e15)
        training = self.trial().training
        plan = FeaturePlan(tuple(boundaries), ("mean",))
        return Features(base, store, "random", plan, training, max_epochs=1)

    def trial(self, layers: int = 0, **changed: Any) -> TrialConfig:
        """A trial with an adapter on so many of the last layers."""
        adapter: dict[str, Any] = {"kind": "none"}
        if layers:
            adapter = {"kind": "lora", "targets": LORA, "rank": 16, "last_layers": layers}
        return TrialConfig.of(
            {
                "base": {"model": "random"},
                "adapter": adapter,
                "head": {"kind": "linear", "width": min(768, self.shape.width)},
                "loss": {"kind": "mnrl", "scale": 20.0},
                "training": {"batch_size": self.shape.batch, "language_temperature": 1.0},
            }
            | changed
        )

    def run(self, steps: int) -> Iterator[tuple[str, Any]]:
        """Every figure, by its name, as soon as it is there."""
        peak = self.peak()
        yield "device", _name(self.device)
        yield "dtype", str(self.dtype).removeprefix("torch.")
        yield "attention", self.base.attention
        yield "matmul TFLOP/s", peak / 1e12
        build, bytes_stored = self.build(peak)
        yield "build", build
        yield "stored bytes", bytes_stored
        for name, (which, way) in WAYS.items():
            yield name, self.time(self.adapted(which), way, steps, peak)
        yield "search of eight trials, s", self.search()

    def adapted(self, which: str) -> int:
        """How many of the last layers have an adapter."""
        return {"none": 0, "last": self.shape.last, "all": self.shape.layers}[which]

    def peak(self) -> float:
        """FLOP a second in the product of two large matrices."""
        size = 8192 if self.device.type == "cuda" else 1024
        one, other = (
            torch.randn(size, size, device=self.device, dtype=self.dtype) for _ in range(2)
        )
        times = [self._timed(lambda: one @ other) for _ in range(20)]
        return 2 * size**3 / statistics.median(times[WARM_UP:])

    def build(self, peak: float) -> tuple[dict[str, Any], int]:
        """What a search computes and writes before its trials can start from it."""
        features = self.features("stored")
        tokens = sum(len(self.corpus.tokens(side).ids_T) for side in self._met())
        torch.manual_seed(0)

        def all_of_it() -> None:
            for layers in (0, self.shape.last):
                with self._objective(self.trial(layers), features) as (_, feed):
                    for side in self._met():
                        feed(side)

        seconds = self._timed(all_of_it)
        stored = sum(f.stat().st_size for f in (self._scratch / "stored").rglob("*.arrow"))
        flops = 2 * sum(self.weights) * tokens
        row = {"s": seconds, "tokens/s": tokens / seconds, "MFU": flops / seconds / peak}
        return row, stored

    def _met(self) -> Iterator[Any]:
        for batch in self.batches:
            yield batch.anchor
            yield batch.positive

    @contextmanager
    def _objective(
        self, trial: TrialConfig, features: Features | None
    ) -> Iterator[tuple[Objective, Callable[..., Any]]]:
        """What a trial's steps go through, and what its encoder starts from."""
        encoder = assemble(self.base, trial.adapter, trial.pooling, trial.head)
        try:
            feed = (
                features.feed(encoder, self.corpus)[0]
                if features
                else plain_feed(encoder, self.corpus)
            )
            loss = build_loss(trial, self.base.width, {})
            made = Objective(encoder, loss, self.corpus, Ranks(), teachers={}, feed=feed)
            yield made.to(self.device), feed
        finally:
            encoder.close()

    def time(self, layers: int, way: str, steps: int, peak: float) -> dict[str, Any]:
        """Steps of a trial with an adapter on so many of the last layers."""
        trial = self.trial(layers)
        features = self.features("stored") if way == "stored" else None
        torch.manual_seed(0)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        with self._padded(way == "padded"), self._objective(trial, features) as (objective, _):
            seconds: list[float] = []
            tokens: list[int] = []
            losses: list[Tensor] = []
            for index, batch in zip(range(WARM_UP + steps), cycle(self.batches), strict=False):
                for parameter in objective.trained:
                    parameter.grad = None
                seconds.append(self._timed(partial(_step, objective, batch, losses)))
                if index >= WARM_UP:
                    tokens.append(self._tokens(batch))
        kept = seconds[WARM_UP:]
        row: dict[str, Any] = {
            "s": statistics.median(kept),
            "least s": min(kept),
            "most s": max(kept),
            "tokens/s": sum(tokens) / sum(kept),
            "first loss": float(losses[0]),
            "MFU": self.products(layers, way) * sum(tokens) / sum(kept) / peak,
        }
        if self.device.type == "cuda":
            row["peak GB"] = torch.cuda.max_memory_allocated(self.device) / 1e9
        return row

    def products(self, layers: int, way: str) -> float:
        """FLOP of a step for each real token, in the matrix products of the base's layers."""
        backward = sum(self.weights[self.shape.layers - layers :])
        forward = backward if way == "stored" else sum(self.weights)
        return 2.0 * (forward + backward)

    def _tokens(self, batch: Batch) -> int:
        return sum(
            int(self.corpus.lengths[side.language, side.row].sum())
            for side in (batch.anchor, batch.positive)
        )

    @contextmanager
    def _padded(self, padded: bool) -> Iterator[None]:
        base = self.base
        before = base.position_offset, base.attention
        if padded:
            base.position_offset = None
            base.model.set_attn_implementation("sdpa")
        try:
            yield
        finally:
            base.position_offset = before[0]
            base.model.set_attn_implementation(before[1])

    def search(self) -> dict[str, Any]:
        """Eight trials, one after another, of one epoch each."""
        last = self.shape.last
        attention, largest = {"kind": "attention", "heads": 4}, {"kind": "max"}
        trials = [
            self.trial(),
            self.trial(pooling=largest),
            self.trial(pooling={"kind": "last"}),
            self.trial(pooling=attention),
            self.trial(last),
            self.trial(last, pooling=largest),
            self.trial(last, pooling=attention),
            self.trial(self.shape.layers),
        ]
        found: dict[str, Any] = {}
        ways = {"from tokens": None, "stored, cold": "search", "stored, warm": "search"}
        for name, folder in ways.items():
            # Features of their own: those of the way before may hold shards in memory.
            features = self.features(folder) if folder else None
            scores: list[float] = []
            seconds = self._timed(partial(self._train, trials, features, scores))
            found[name] = {"s": seconds, "accuracy": scores}
        return found

    def _train(
        self, trials: list[TrialConfig], features: Features | None, scores: list[float]
    ) -> None:
        for trial in trials:
            reports = train(
                trial, self.base, self.corpus, self.validation, max_epochs=1, features=features
            )
            scores.extend(report.scores.accuracy for report in reports)

    def _timed(self, work: Callable[[], Any]) -> float:
        """Seconds, of the device's work too."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - start


# Name -> which layers are adapted, and what the steps start from.
WAYS: dict[str, tuple[str, str]] = {
    "padded": ("all", "padded"),
    "all": ("all", "tokens"),
    "last": ("last", "tokens"),
    "last, stored": ("last", "stored"),
    "frozen, stored": ("none", "stored"),
}


def _step(objective: Objective, batch: Batch, losses: list[Tensor]) -> None:
    losses.append(objective.backward(batch))


def _products(layer: nn.Module) -> int:
    """Weights of a layer's matrix products."""
    return sum(m.weight.numel() for m in layer.modules() if isinstance(m, nn.Linear))


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


if __name__ == "__main__":
    main()
