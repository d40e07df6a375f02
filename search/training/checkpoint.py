"""A trial's state as safetensors: what trains, the optimizer and the random state."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from search.runtime.randomness import random_state, set_random_state
from search.runtime.sealing import DamagedError, check, seal

_META, _MINED = "meta", "mined"


@dataclass(frozen=True)
class Checkpoint:
    """A trial between two epochs.

    Attributes:
        epoch: epochs done.
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

    def to_bytes(self) -> bytes:
        """Serialise, with a checksum."""
        meta = {"epoch": self.epoch, "seconds": self.seconds}
        tensors = {f"weights/{name}": value for name, value in self.weights.items()}
        tensors |= {f"optimizer/{name}": value for name, value in self.optimizer.items()}
        tensors |= {f"random/{index}": value for index, value in enumerate(self.random)}
        if self.mined is not None:
            tensors[_MINED] = self.mined
        tensors[_META] = torch.frombuffer(bytearray(json.dumps(meta).encode()), dtype=torch.uint8)
        data = save({name: value.cpu().contiguous() for name, value in tensors.items()})
        return seal(data, {"report": self.report})

    def part(self, prefix: str) -> Checkpoint:
        """The weights below a prefix, by their names without it."""
        below = {n.removeprefix(prefix): v for n, v in self.weights.items() if n.startswith(prefix)}
        return replace(self, weights=below)

    @classmethod
    def from_bytes(cls, data: bytes) -> Checkpoint:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: it is damaged.
        """
        try:
            report = check(data).get("report", "")
            tensors = load(data)
            meta = json.loads(bytes(tensors.pop(_META).tolist()))
            mined = tensors.pop(_MINED, None)
            parts: dict[str, dict[str, Tensor]] = {"weights": {}, "optimizer": {}, "random": {}}
            for name, value in tensors.items():
                part, _, rest = name.partition("/")
                parts[part][rest] = value
            random = [parts["random"][str(i)] for i in range(len(parts["random"]))]
            epoch, seconds = int(meta["epoch"]), float(meta["seconds"])
        except DamagedError as error:
            raise ValueError(f"the checkpoint is damaged: {error}") from error
        except Exception as error:  # safetensors has an exception class of its own
            raise ValueError(f"the checkpoint is damaged: {error!r}") from error
        return cls(epoch, seconds, parts["weights"], parts["optimizer"], random, mined, report)


def capture(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    seconds: float,
    mined: Tensor | None = None,
) -> Checkpoint:
    """Take a trial's state."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    moments = {
        f"{name}/{quantity}": torch.as_tensor(value).clone()
        for name, parameter in named.items()
        for quantity, value in optimizer.state.get(parameter, {}).items()
    }
    weights = {name: parameter.detach().clone() for name, parameter in named.items()}
    return Checkpoint(epoch, seconds, weights, moments, random_state(), mined)


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
        optimizer.state[parameter][quantity] = value.to(parameter.device)
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
