"""Run a transformer up to a layer, or from a layer on.

The layers below a boundary are frozen, so their output can be cached, and the model run from the
cached hidden states. During such a call, modules that return these states replace the layers below.
The list of layers keeps its length: masks, positions and adapters' names are those of the whole
model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


class StopForward(Exception):  # noqa: N818  # no error: it ends a call early
    """Ends a forward pass at the layer that it is to stop at.

    Attributes:
        states: hidden states that enter that layer.
    """

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


@contextmanager
def stopped_at(layer: nn.Module) -> Iterator[None]:
    """Raise `StopForward` before a layer runs, inside this context."""

    def stop(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        raise StopForward(args[0] if args else kwargs["hidden_states"])

    handle = layer.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


class _Pass(nn.Module):
    """Replaces a skipped layer; returns the cached hidden states, whatever its input."""

    def __init__(self, layer: nn.Module, states: Tensor) -> None:
        super().__init__()
        self._layer = [layer]  # not a submodule: the model keeps no second name for its weights
        self._states = states

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        # Models read attributes of their layers, such as the type of attention.
        try:
            return super().__getattr__(name)
        except AttributeError:
            found: Tensor | nn.Module = getattr(self.__dict__["_layer"][0], name)
            return found

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self._states


@contextmanager
def started_at(layers: nn.ModuleList, boundary: int, states: Tensor) -> Iterator[None]:
    """Start forward passes at a layer with given hidden states, inside this context.

    Args:
        boundary: index of the first layer that runs; above 0.
        states: hidden states that enter it.
    """
    kept = [layers[index] for index in range(boundary)]
    for index, layer in enumerate(kept):
        layers[index] = _Pass(layer, states)
    try:
        yield
    finally:
        for index, layer in enumerate(kept):
            layers[index] = layer
