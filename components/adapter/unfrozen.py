"""The base's own weights, trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from components.base.structure import first_of_last, layers_of
from components.interface import Adapter, AdapterConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Unfrozen(AdapterConfig):
    """The base's own weights, of its last layers or of all.

    Their learning rate is ``optimizer.base_lr``, and ``optimizer.layer_decay`` lowers it from layer
    to layer. A checkpoint holds them and AdamW's two moments in float32: 12 bytes a weight.

    Attributes:
        last_layers: how many layers, counted from the top, train, with the norm after them; ``all``
            for every one.
        embeddings: train the embeddings of tokens and positions too. Every trial then runs the
            whole base.
    """

    trains_base: ClassVar[bool] = True
    kind: Literal["unfrozen"] = "unfrozen"
    last_layers: Annotated[int, Field(ge=1)] | Literal["all"] = "all"
    embeddings: bool = False

    def build(self, model: PreTrainedModel, families: Sequence[str] = ()) -> Adapter:
        boundary = first_of_last(model, self.last_layers)
        depths = dict(_depths(model, boundary, self.embeddings))
        return UnfrozenAdapter(model, depths, 0 if self.embeddings else boundary)


def _depths(model: PreTrainedModel, boundary: int, embeddings: bool) -> Iterator[tuple[str, int]]:
    """Names of the weights that train, and how many layers stand above each.

    The embeddings stand below all layers; the norm after the last counts as part of that.
    """
    path, layers = layers_of(model)
    names = [name for name, _ in model.named_parameters()]
    inside = [name.startswith(f"{path}.") for name in names]
    first = inside.index(True)
    for index, name in enumerate(names):
        if inside[index]:
            layer = int(name.removeprefix(f"{path}.").partition(".")[0])
            if layer >= boundary:
                yield name, len(layers) - 1 - layer
        elif index < first:
            if embeddings:
                yield name, len(layers)
        elif "norm" in type(model.get_submodule(name.rpartition(".")[0])).__name__.lower():
            yield name, 0  # what else comes after the layers (a pooler) no state goes through


class UnfrozenAdapter(Adapter):
    """Trained copies of the base's own weights, which stand in for these while it is in force.

    The copies are float32. Where the base is in half precision, each call of it rounds them to the
    base's dtype first, so that training begins at the base itself, a step may be smaller than what
    half precision can tell apart, and gradients reach the copies in float32.

    Sources: Howard and Ruder, 2018, ULMFiT, section 3 (training all layers, the lower ones more
    gently); Micikevicius et al., 2018, Mixed Precision Training, section 3.1 (float32 copies).

    Departure: the base stays in eval mode, without dropout, as with every other adapter.

    Args:
        depths: names of the weights -> layers above that of the weight.
    """

    def __init__(self, model: PreTrainedModel, depths: Mapping[str, int], boundary: int) -> None:
        super().__init__()
        self.boundary = boundary
        self._model = [model]  # not a submodule: its own weights are not this adapter's
        self._depths = {name.replace(".", "/"): depth for name, depth in depths.items()}
        copies: dict[int, nn.Parameter] = {}
        for name in depths:
            own = model.get_parameter(name)
            dtype = torch.promote_types(own.dtype, torch.float32)
            copies[id(own)] = nn.Parameter(own.detach().to(dtype, copy=True))
            self.register_parameter(name.replace(".", "/"), copies[id(own)])
        # A weight may have several places, as tied ones do.
        self._places = [
            (module, name, own, copies[id(own)])
            for module in model.modules()
            for name, own in module.named_parameters(recurse=False)
            if id(own) in copies
        ]
        self._put()
        self._hook = model.register_forward_pre_hook(lambda module, args: self._put())

    def _put(self) -> None:
        """Let the copies be found in place of the base's weights."""
        rounded: dict[int, torch.Tensor] = {}
        for module, name, own, copy in self._places:
            if id(copy) not in rounded:
                rounded[id(copy)] = copy.to(own.dtype)  # the copy itself, where nothing is rounded
            # An attribute of the instance is found before a parameter, which stays where it is.
            vars(module)[name] = rounded[id(copy)]

    def base_depths(self) -> Mapping[str, int]:
        return self._depths

    def remove(self) -> None:
        self._hook.remove()
        for module, name, _, _ in self._places:
            vars(module).pop(name, None)

    @torch.no_grad()
    def merge(self) -> None:
        self.remove()
        # In float32, and left so: rounded to bfloat16, small steps would be lost.
        self._model[0].to(torch.float32)
        for module, name, _, copy in self._places:
            module.get_parameter(name).copy_(copy)
