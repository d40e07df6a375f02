"""AdamW over what trains: which parameters decay, at which learning rates, and when."""

from __future__ import annotations

import torch
from torch import nn

from components.decay import split_parameters
from components.interface import Adapter, Head, Loss, Pooling
from search.settings.schedule import decay_factor
from search.settings.trial import OptimizerConfig

# Part of a model -> the setting of its learning rate.
RATES: dict[type[nn.Module], str] = {
    Adapter: "adapter_lr", Pooling: "pooling_lr", Head: "head_lr", Loss: "loss_lr"
}  # fmt: skip


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over what trains, in groups by weight decay and by learning rate.

    `components.decay` says what weight decay shrinks. The rate of a group at a step is its
    ``share`` of that of `schedule`.
    """
    shares = rate_shares(model, config)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    decayed, kept = split_parameters(model)
    for parameters, decay in ((decayed, config.weight_decay), (kept, 0.0)):
        for parameter in parameters:
            share = shares.get(id(parameter), 1.0)
            groups.setdefault((decay, share), []).append(parameter)
    if not groups:  # torch refuses an optimizer without a parameter
        groups[0.0, 1.0] = [nn.Parameter(torch.zeros(()))]
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "share": share, "lr": config.lr * share}
            for (decay, share), parameters in groups.items()
        ],
        lr=config.lr,
        fused=True,  # torch's default on a CPU takes 2 to 9 times as long
    )


def rate_shares(model: nn.Module, config: OptimizerConfig) -> dict[int, float]:
    """Parameters, by identity, that have a rate of their own -> the share of ``lr`` that it is."""
    shares: dict[int, float] = {}
    for module in model.modules():
        names = [name for part, name in RATES.items() if isinstance(module, part)]
        rate = getattr(config, names[0]) if names else None
        if rate is not None:
            shares |= {id(parameter): rate / config.lr for parameter in module.parameters()}
        if isinstance(module, Adapter):
            share = config.rate_of_base / config.lr
            shares |= {
                id(module.get_parameter(name)): share * config.layer_decay**depth
                for name, depth in module.base_depths().items()
            }
    return shares


def schedule(config: OptimizerConfig, step: int, total: int, rung: int) -> float:
    """Compute the learning rate of a step: a linear rise, then what `optimizer.schedule` says.

    The rise takes a share of the first rung, not of all steps: a trial that is compared after its
    first rung must have been trained at its full rate by then. ``warmup * rung`` steps depend
    neither on the number of epochs nor on whether trials are stopped, so that a trial that is
    resumed, or trained alone, meets the same rates.

    Args:
        step: from 0.
        total: steps of all epochs.
        rung: steps of the first rung.
    """
    warmup = config.warmup * rung
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    left = (total - step) / max(1.0, total - warmup)
    return config.lr * decay_factor(config.schedule, left)
