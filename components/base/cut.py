"""Run a transformer up to a layer, or from a layer on.

The layers below a boundary are frozen, so what they give can be stored; a model is then run from
the stored states on. For that the layers below are replaced, for the length of a call, by modules
that let everything pass. Nothing is sliced: masks, positions and adapters' names stay those of the
whole model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class Reached(Exception):  # noqa: N818  # no error: it ends a call early
    """A call has come to the layer where it was to stop.

    Attributes:
        states: what enters that layer.
    """

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


@contextmanager
def stopped_at(layer: nn.Module) -> Iterator[None]:
    """Raise `Reached` in calls inside, when they come to a layer."""

    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise Reached(args[0] if args else kwargs["hidden_states"])

    handle = layer.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


class _Pass(nn.Module):
    """Stands for a layer and gives some states, whatever comes in."""

    def __init__(self, layer: nn.Module, states: Tensor) -> None:
        super().__init__()
        self._layer = [layer]  # not a submodule: the model keeps no second name for its weights
        self._states = states

    def __getattr__(self, name: str) -> Any:
        # Models ask their layers for this or that, such as the kind of attention they have.
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_layer"][0], name)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self._states


@contextmanager
def started_at(layers: nn.ModuleList, boundary: int, states: Tensor) -> Iterator[None]:
    """Let calls inside begin with some states at a layer.

    Args:
        boundary: index of the first layer that runs; above 0.
        states: what enters it.
    """
    kept = [layers[index] for index in range(boundary)]
    for index, layer in enumerate(kept):
        layers[index] = _Pass(layer, states)
    try:
        yield
    finally:
        for index, layer in enumerate(kept):
            layers[index] = layer
