"""A trial's state as safetensors: what trains, the optimizer and the random state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from search.runtime.checkpoints import is_lasting
from search.runtime.randomness import random_state, set_random_state
from search.runtime.sealing import DamagedError, Part, check, seal

_META, _MINED = "meta", "mined"
# What a checkpoint may hold, as safetensors names it.
_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16",
    torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """A trial between two epochs.

    Attributes:
        epoch: epochs done.
        since: epochs done when the optimizer began; its schedule counts from there.
        seconds: time they took.
        weights: name -> value of every parameter that trains.
        optimizer: name of the parameter and of the optimizer's quantity -> value.
        random: states of the generators, CPU first, then the GPU's, if any.
        mined: rows of the negatives in force, if any are.
        report: what was said of the trial at this point, an `EpochDone` as JSON; empty if nothing.
    """

    epoch: int
    seconds: float
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    random: list[Tensor]
    mined: Tensor | None = None
    report: str = ""
    since: int = 0

    def pieces(self, *, lasting: bool = False) -> Iterator[memoryview]:
        """What a file of it consists of, with a checksum, a tensor at a time.

        Args:
            lasting: leave out what only going on needs.
        """
        meta = {"epoch": self.epoch, "seconds": self.seconds, "since": self.since}
        tensors = {f"weights/{name}": value for name, value in self.weights.items()}
        tensors |= {f"optimizer/{name}": value for name, value in self.optimizer.items()}
        tensors |= {f"random/{index}": value for index, value in enumerate(self.random)}
        if self.mined is not None:
            tensors[_MINED] = self.mined
        tensors[_META] = torch.frombuffer(bytearray(json.dumps(meta).encode()), dtype=torch.uint8)
        parts = [
            Part(name, _DTYPES[value.dtype], value.shape, value.nbytes, partial(_bytes, value))
            for name, value in tensors.items()
            if is_lasting(name) or not lasting
        ]
        return seal(parts, {"report": self.report})

    def begin_anew(self) -> Checkpoint:
        """The weights alone, for another trial that goes on from them with a fresh optimizer."""
        return replace(self, optimizer={}, random=[], mined=None, report="", since=self.epoch)

    def part(self, prefix: str) -> Checkpoint:
        """The weights below a prefix, by their names without it."""
        below = {n.removeprefix(prefix): v for n, v in self.weights.items() if n.startswith(prefix)}
        return replace(self, weights=below)

    @classmethod
    def read(cls, file: Path) -> Checkpoint:
        """Read what `pieces` gave; tensors come from the disk when they are used.

        Raises:
            ValueError: it is damaged.
        """
        try:
            with file.open("rb") as opened:
                report = check(opened).get("report", "")
            tensors = load_file(file)
            meta = json.loads(bytes(tensors.pop(_META).tolist()))
            mined = tensors.pop(_MINED, None)
            parts: dict[str, dict[str, Tensor]] = {"weights": {}, "optimizer": {}, "random": {}}
            for name, value in tensors.items():
                part, slash, rest = name.partition("/")
                if slash:  # the checksum is none of them
                    parts[part][rest] = value
            random = [parts["random"][str(i)] for i in range(len(parts["random"]))]
            epoch, seconds, since = int(meta["epoch"]), float(meta["seconds"]), int(meta["since"])
        except OSError:
            raise
        except DamagedError as error:
            raise ValueError(f"the checkpoint is damaged: {error}") from error
        except Exception as error:  # safetensors has an exception class of its own
            raise ValueError(f"the checkpoint is damaged: {error!r}") from error
        return cls(
            epoch, seconds, parts["weights"], parts["optimizer"], random, mined, report, since
        )


def _bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor; on a CPU they are not copied."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def capture(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    seconds: float,
    mined: Tensor | None = None,
    since: int = 0,
) -> Checkpoint:
    """Take a trial's state: not copies, so it changes as the training goes on."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    moments = {
        f"{name}/{quantity}": torch.as_tensor(value)
        for name, parameter in named.items()
        for quantity, value in optimizer.state.get(parameter, {}).items()
    }
    weights = {name: parameter.detach() for name, parameter in named.items()}
    return Checkpoint(epoch, seconds, weights, moments, random_state(), mined, since=since)


def restore(checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a trial's state back.

    Raises:
        ValueError: the weights are not those of this model.
    """
    restore_weights(checkpoint, model)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for key, value in checkpoint.optimizer.items():
        name, _, quantity = key.rpartition("/")
        parameter = named[name]
        # A fused AdamW keeps all of it beside the parameter, its count of steps too.
        optimizer.state[parameter][quantity] = value.to(parameter.device, copy=True)
    if checkpoint.random:
        set_random_state(checkpoint.random)


def restore_weights(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Put only the trained weights back.

    Raises:
        ValueError: they are not those of this model.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if named.keys() != checkpoint.weights.keys():
        odd = sorted(named.keys() ^ checkpoint.weights.keys())
        raise ValueError(f"the checkpoint is of another model: they differ in {odd[0]!r}")
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(checkpoint.weights[name])
