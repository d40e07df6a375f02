"""Activation checkpointing: what a layer computes is computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from components.base.fused import Replacement, fused
from components.base.structure import layers_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def recomputed(model: PreTrainedModel, replacements: Sequence[Replacement]) -> Iterator[None]:
    """Keep, in calls inside, only what enters each layer for the backward pass.

    transformers has the same, but only for models in training mode, where a base's own dropout
    would be on.

    Args:
        replacements: what the model computes in a way of our own; so must it the second time.

    Source: Chen et al., 2016, Training Deep Nets with Sublinear Memory Cost, section 4.
    """
    layers = list(layers_of(model)[1])
    for layer in layers:
        vars(layer)["forward"] = _twice(layer.forward, replacements)
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["forward"]


def _twice(
    forward: Callable[..., Tensor], replacements: Sequence[Replacement]
) -> Callable[..., Tensor]:
    def run(*args: object, **kwargs: object) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        # How the batch is packed, and the family of each token: the backward pass runs outside of
        # the call that says so, and on a GPU in another thread.
        context = copy_context()

        def again(*args: object) -> Tensor:
            with fused(replacements):
                return context.run(forward, *args, **kwargs)

        states: Tensor = checkpoint(again, *args, use_reentrant=False)
        return states

    return run
