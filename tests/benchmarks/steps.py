"""Would another way to compute a training step pay, on one thread of a CPU?

    python -m tests.benchmarks.steps [--parts adamw clip compile together] [--repeats 5]

- adamw, clip: a step of the optimizer and the clipping of gradients: as torch does them by default,
  with ``foreach``, without it, and fused;
- compile: loss and gradients of a frozen trial, from stored means on, and of LoRA over a base, of
  which every layer is compiled for any number of tokens, and attention left as it is;
- together: a step of eight frozen trials with heads of one shape: one trial after another, and all
  at once by vmap and by bmm. They have one loss and one learning rate, and may share their inputs.

Ways of the same work take turns, so that what else the machine does slows down all alike; their
first results are held to each other. Milliseconds are of the process's CPU. Ratios are of a turn to
the first way's; below 1 is faster. A cell holds the median, the least and the most of all turns.
Times to compile are of the CPU too, the C++ compiler's among them, and of one run each.
"""

from __future__ import annotations

import argparse
import copy
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, Qwen3Config, Qwen3Model

from components.adapter.lora import Lora
from components.base import Base, BaseConfig, load
from components.base import packing as packing_of
from components.base.structure import layers_of
from components.encoder import assemble
from components.head.linear import Linear
from components.head.mlp import Mlp
from components.interface import HeadConfig
from components.loss.info_nce import InfoNce
from components.pooling.mean import Mean
from components.ragged import Statistics, Tokens
from tests.components.conftest import embedded

HEADS: dict[str, tuple[int, HeadConfig]] = {
    "linear 128 → 256": (128, Linear(width=256)),
    "mlp 128 → 512 → 256": (128, Mlp(width=256, hidden=512)),
    "linear 4096 → 768": (4096, Linear(width=768)),
    "mlp 4096 → 2048 → 768": (4096, Mlp(width=768, hidden=2048)),
}
# Name -> layers, width and pairs a batch.
BASES = {"6 x 128": (6, 128, 64), "24 x 512": (24, 512, 16)}
LORA = Lora(rank=8, targets=["q_proj", "k_proj", "v_proj", "o_proj"])
PAIRS = (64, 256, 1024)
TRIALS = 8
LR = 1e-3
TURN_S = 0.2  # that a turn takes at least

Way = Callable[[], Any]


class Turn(NamedTuple):
    """Milliseconds of one call, on average over a turn."""

    cpu: float
    wall: float


def in_turns(ways: dict[str, Way], repeats: int) -> dict[str, list[Turn]]:
    """Time ways of the same work; each call of one is the same work as that of another."""
    for _ in range(2):  # the second result shows what the first call has made of the parameters
        results = [way() for way in ways.values()]
        for result in results[1:]:
            torch.testing.assert_close(result, results[0], rtol=1e-3, atol=1e-5)
    start = time.perf_counter()
    for way in ways.values():
        way()
    calls = max(1, round(TURN_S * len(ways) / (time.perf_counter() - start)))
    turns: dict[str, list[Turn]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls):
                way()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            turns[name].append(Turn(1e3 * cpu / calls, 1e3 * wall / calls))
    return turns


def cells(turns: dict[str, list[Turn]]) -> list[str]:
    """The first way's milliseconds, and the ratios of each other way: CPU, wall."""
    first, *others = turns.values()
    found = [spread([turn.cpu for turn in first], ".3g")]
    for other in others:
        pairs = list(zip(other, first, strict=True))
        found.append(spread([turn.cpu / one.cpu for turn, one in pairs], ".2f"))
        found.append(spread([turn.wall / one.wall for turn, one in pairs], ".2f"))
    return found


def spread(values: Sequence[float], form: str) -> str:
    """The median, the least and the most."""
    middle, low, high = (
        f"{value:{form}}" for value in (statistics.median(values), min(values), max(values))
    )
    return f"{middle} ({low}–{high})"


def table(title: str, columns: Sequence[str], rows: Iterator[Sequence[str]]) -> None:
    """Print a Markdown table, row by row as they come."""
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def base_of(name: str) -> Base:
    """The built-in base, or a random one."""
    layers, width, _ = BASES[name]
    if width == 128:
        return load(BaseConfig(model="builtin:tiny", max_length=256, dtype="float32"))
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=4096,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 128,
        head_dim=64,
        max_position_embeddings=256,
    )
    base = Base(Qwen3Model(config), None, 256)  # nothing is tokenised
    assert base.pack()
    return base


# Optimizer


def gradients() -> Iterator[tuple[str, list[nn.Parameter]]]:
    """What trials train, with gradients."""
    sets = {name: list(head.build(width).parameters()) for name, (width, head) in HEADS.items()}
    for name in BASES:
        encoder = assemble(base_of(name), LORA, Mean(), Linear(width=256))
        sets[f"LoRA on {name}, linear → 256"] = list(encoder.parameters())
    for name, parameters in sets.items():
        for parameter in parameters:
            parameter.grad = 1e-3 * torch.randn_like(parameter)
        yield name, parameters


def adamw_rows(repeats: int) -> Iterator[list[str]]:
    """Steps of the optimizer."""
    for name, parameters in gradients():
        ways = {
            "default": stepping(parameters),
            "foreach": stepping(parameters, foreach=True),
            "fused": stepping(parameters, fused=True),
        }
        size = [str(len(parameters)), f"{sum(p.numel() for p in parameters):,}"]
        yield [name, *size, *cells(in_turns(ways, repeats))]


def clip_rows(repeats: int) -> Iterator[list[str]]:
    """Clipping, which is by ``foreach`` unless told otherwise."""
    for name, parameters in gradients():
        ways = {"default": clipping(parameters), "without": clipping(parameters, foreach=False)}
        yield [name, str(len(parameters)), *cells(in_turns(ways, repeats))]


def _halves(emb_BE: Tensor) -> tuple[Tensor, Tensor]:
    """The embeddings of sentences and of their translations, which follow them."""
    sentences, translations = emb_BE.chunk(2)
    return sentences, translations


def copied(parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Parameters and gradients of a way's own."""
    fresh = copy.deepcopy(list(parameters))
    for parameter, source in zip(fresh, parameters, strict=True):
        assert source.grad is not None
        parameter.grad = source.grad.clone()
    return fresh


def stepping(
    parameters: Sequence[nn.Parameter], foreach: bool | None = None, fused: bool | None = None
) -> Way:
    """A step of AdamW; what it makes of the parameters."""
    own = copied(parameters)
    optimizer = torch.optim.AdamW(own, lr=LR, foreach=foreach, fused=fused)

    def way() -> list[nn.Parameter]:
        optimizer.step()
        return own

    return way


def clipping(parameters: Sequence[nn.Parameter], **settings: bool) -> Way:
    """Gradients clipped; their norm before it."""
    own = copied(parameters)
    return lambda: nn.utils.clip_grad_norm_(own, 1.0, **settings)


# Compilation


class Compared(NamedTuple):
    """What InfoNCE asks of `Embedded`, which the compiler cannot see through."""

    anchor_BE: Tensor
    candidate_CE: Tensor
    is_same_BC: Tensor


def frozen(width: int, head: HeadConfig, compiled: bool) -> Way:
    """The loss and the gradients of 64 pairs' stored means."""
    torch.manual_seed(0)
    pooling, module, loss = Mean().build(width), head.build(width), InfoNce().build(256)
    mean_XD = torch.randn(128, width)
    family_X, meaning_B = torch.zeros(128, dtype=torch.int64), torch.arange(64)

    def forward(pooled_XD: Tensor) -> Tensor:
        anchor_BE, positive_BE = F.normalize(module(pooled_XD, family_X), dim=-1).chunk(2)
        same_BC = meaning_B.unsqueeze(1) == meaning_B.unsqueeze(0)
        scalar: Tensor = loss(Compared(anchor_BE, positive_BE, same_BC))
        return scalar

    # The batch has the same size in every step.
    call = torch.compile(forward, fullgraph=True, dynamic=False) if compiled else forward

    def way() -> Tensor:
        module.zero_grad()
        scalar = call(pooling(Statistics({"mean": mean_XD}.__getitem__)))
        torch.autograd.backward(scalar)
        return scalar.detach()

    return way


def adapted(name: str, compiled: bool) -> Way:
    """The loss and the gradients of a batch that runs through a base with LoRA.

    Each call meets the next of eight batches, whose numbers of tokens differ.
    """
    *_, pairs = BASES[name]
    base = base_of(name)
    torch.manual_seed(0)
    encoder = assemble(base, LORA, Mean(), Linear(width=256))
    loss = InfoNce().build(256)
    if compiled:
        for layer in layers_of(base.model)[1]:
            layer.compile(dynamic=True)
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(8):
        lengths = rng.lognormal(3.0, 0.6, 2 * pairs).round().clip(2, 200).astype(int)
        ids = rng.integers(5, 2000, lengths.sum())
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        batches.append(Tokens(torch.from_numpy(ids), torch.from_numpy(offsets)))
    family_B, meaning_B = torch.zeros(2 * pairs, dtype=torch.int64), torch.arange(pairs)
    following = cycle(batches)

    def way() -> Tensor:
        encoder.zero_grad()
        emb_BE = encoder(next(following), family_B)
        scalar: Tensor = loss(embedded(*_halves(emb_BE), meaning_B))
        torch.autograd.backward(scalar)
        return scalar.detach()

    return way


def compile_rows(repeats: int) -> Iterator[list[str]]:
    """Each step as it is and compiled, and what compiling takes."""
    # Attention goes through runs of sentences that differ in every batch.
    AttentionInterface.register(packing_of.NAME, torch.compiler.disable(packing_of.attention))
    steps: dict[str, Callable[[bool], Way]] = {
        f"frozen, {name}": partial(frozen, *of) for name, of in HEADS.items()
    }
    for name in BASES:
        steps[f"LoRA 8 on {name}, {BASES[name][2]} pairs"] = partial(adapted, name)
    with one_compiler():
        for name, make in steps.items():
            plain, compiled = make(False), make(True)
            cold = cost_of_first(plain, compiled)
            torch._dynamo.reset()  # and now as in the next process: from the files of the first
            warm = cost_of_first(plain, compiled)
            turns = in_turns({"plain": plain, "compiled": compiled}, repeats)
            pairs = zip(*turns.values(), strict=True)
            saved = statistics.median(one.cpu - other.cpu for one, other in pairs) / 1e3
            yield [
                name,
                *cells(turns),
                f"{cold:.1f}",
                f"{warm:.1f}",
                *(f"{cost / saved:,.0f}" if saved > 0 else "never" for cost in (cold, warm)),
            ]


@contextmanager
def one_compiler() -> Iterator[None]:
    """Compile in this process, from nothing; forget it all afterwards."""
    from torch._inductor import config
    from torch._inductor.utils import fresh_cache

    with fresh_cache(), config.patch(compile_threads=1):
        torch.compile(lambda x: x.sin() + 1)(torch.ones(8))  # what only the very first has to pay
        torch._dynamo.reset()
        yield
    torch._dynamo.reset()


def cost_of_first(plain: Way, compiled: Way) -> float:
    """CPU seconds, the C++ compiler's among them, of a first call beyond those of a plain one."""

    def spent(way: Way) -> float:
        start = _spent()
        way()
        return _spent() - start

    return spent(compiled) - spent(plain)


def _spent() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


# Eight trials together


def together_rows(repeats: int) -> Iterator[list[str]]:
    """Heads of one shape, for growing batches."""
    for name, (width, head) in HEADS.items():
        for pairs in PAIRS:
            torch.manual_seed(0)
            heads: list[nn.Module] = [head.build(width) for _ in range(TRIALS)]
            own_KXD = torch.randn(TRIALS, 2 * pairs, width)
            for inputs, mean_KXD in (("own", own_KXD), ("shared", own_KXD[:1])):
                ways = {
                    "one by one": one_by_one(copy.deepcopy(heads), mean_KXD),
                    "vmap": by_vmap(copy.deepcopy(heads), mean_KXD),
                    "bmm": by_bmm(copy.deepcopy(heads), mean_KXD),
                }
                yield [name, str(pairs), inputs, *cells(in_turns(ways, repeats))]


def one_by_one(heads: list[nn.Module], mean_KXD: Tensor) -> Way:
    """A step of each; their losses."""
    pairs = mean_KXD.shape[1] // 2
    family_X, meaning_B = torch.zeros(2 * pairs, dtype=torch.int64), torch.arange(pairs)
    loss = InfoNce().build(0)
    optimizers = [torch.optim.AdamW(head.parameters(), lr=LR, fused=True) for head in heads]
    inputs = list(mean_KXD.expand(TRIALS, -1, -1))

    def way() -> Tensor:
        losses = []
        for head, optimizer, mean_XD in zip(heads, optimizers, inputs, strict=True):
            optimizer.zero_grad()
            emb_XE = F.normalize(head(mean_XD, family_X), dim=-1)
            scalar = loss(embedded(*_halves(emb_XE), meaning_B))
            torch.autograd.backward(scalar)
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            losses.append(scalar.detach())
        return torch.stack(losses)

    return way


def by_vmap(heads: list[nn.Module], mean_KXD: Tensor) -> Way:
    """The same by `torch.func`: any head and any loss, as they are."""
    pairs = mean_KXD.shape[1] // 2
    family_X, meaning_B = torch.zeros(2 * pairs, dtype=torch.int64), torch.arange(pairs)
    loss = InfoNce().build(0)
    stacked, buffers = torch.func.stack_module_state(heads)
    shared = len(mean_KXD) == 1

    def one(weights: dict[str, Tensor], rest: dict[str, Tensor], mean_XD: Tensor) -> Tensor:
        out_XE = torch.func.functional_call(heads[0], (weights, rest), (mean_XD, family_X))
        emb_XE = F.normalize(out_XE, dim=-1)
        scalar: Tensor = loss(embedded(*_halves(emb_XE), meaning_B))
        return scalar

    each = torch.func.vmap(one, in_dims=(0, 0, None if shared else 0))
    inputs = mean_KXD[0] if shared else mean_KXD
    return stepping_together(list(stacked.values()), lambda: each(stacked, buffers, inputs))


def by_bmm(heads: list[nn.Module], mean_KXD: Tensor) -> Way:
    """The same by hand, for linear layers with ReLU between them and InfoNCE."""
    pairs = mean_KXD.shape[1] // 2
    stacked, _ = torch.func.stack_module_state(heads)
    layers = list(zip(*[iter(stacked.values())] * 2, strict=True))  # weight and bias of each
    target = torch.arange(pairs).repeat(TRIALS)
    temperature = InfoNce().temperature

    def losses() -> Tensor:
        out_KXE = mean_KXD.expand(TRIALS, -1, -1)
        for index, (weight_KEI, bias_KE) in enumerate(layers):
            rows = out_KXE.relu() if index else out_KXE
            if index == 0 and len(mean_KXD) == 1:  # one product for all
                flat = F.linear(mean_KXD[0], weight_KEI.flatten(0, 1), bias_KE.flatten())
                out_KXE = flat.unflatten(1, (TRIALS, -1)).transpose(0, 1)
            else:
                out_KXE = torch.baddbmm(bias_KE.unsqueeze(1), rows, weight_KEI.transpose(1, 2))
        anchor_KBE, positive_KBE = F.normalize(out_KXE, dim=-1).chunk(2, dim=1)
        logits_KBB = anchor_KBE @ positive_KBE.transpose(1, 2) / temperature
        both = [
            F.cross_entropy(logits.flatten(0, 1), target, reduction="none")
            for logits in (logits_KBB, logits_KBB.transpose(1, 2))
        ]
        return (both[0] + both[1]).view(TRIALS, -1).mean(1) / 2

    return stepping_together([p for layer in layers for p in layer], losses)


def stepping_together(stacked: Sequence[Tensor], losses: Callable[[], Tensor]) -> Way:
    """A step of all, each trial's gradient clipped by its own norm; their losses."""
    optimizer = torch.optim.AdamW(stacked, lr=LR, fused=True)

    def way() -> Tensor:
        optimizer.zero_grad()
        losses_K = losses()
        torch.autograd.backward(losses_K.sum())
        grads = [p.grad for p in stacked if p.grad is not None]
        norm_K = torch.stack([grad.flatten(1).norm(dim=1) for grad in grads]).norm(dim=0)
        scale_K = (1 / (norm_K + 1e-6)).clamp(max=1)
        for grad in grads:
            grad.mul_(scale_K.view(-1, *[1] * (grad.dim() - 1)))
        optimizer.step()
        return losses_K.detach()

    return way


def ratios(way: str) -> list[str]:
    """Headings of a way's columns."""
    return [f"{way}: CPU", "wall"]


PARTS: dict[str, tuple[str, list[str], Callable[[int], Iterator[list[str]]]]] = {
    "adamw": (
        "A step of AdamW",
        ["parameters", "tensors", "numbers", "default, ms", *ratios("foreach"), *ratios("fused")],
        adamw_rows,
    ),
    "clip": (
        "`clip_grad_norm_`",
        ["parameters", "tensors", "default, ms", *ratios("without foreach")],
        clip_rows,
    ),
    "compile": (
        "Loss and gradients",
        ["trial", "plain, ms", *ratios("compiled"), "compile, s", "from its cache, s",
         "pays after steps", "from its cache"],
        compile_rows,
    ),
    "together": (
        f"A step of {TRIALS} frozen trials",
        ["head", "pairs", "inputs", "one by one, ms", *ratios("vmap"), *ratios("bmm")],
        together_rows,
    ),
}  # fmt: skip


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread")
    for part in options.parts:
        title, columns, rows = PARTS[part]
        table(title, columns, rows(options.repeats))


if __name__ == "__main__":
    main()
