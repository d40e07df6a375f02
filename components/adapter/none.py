"""No adapter: the base stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from components.base.structure import depth_of
from components.interface import Adapter, AdapterConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class NoAdapterConfig(AdapterConfig):
    """The base stays frozen."""

    kind: Literal["none"] = "none"

    @property
    def trains(self) -> bool:
        return False

    def build(self, model: PreTrainedModel, families: Sequence[str] = ()) -> Adapter:
        return NoAdapter(boundary=depth_of(model))


class NoAdapter(Adapter):
    """The base stays frozen: nothing to train, nothing to remove, nothing to merge."""

    def __init__(self, boundary: int) -> None:
        super().__init__()
        self.boundary = boundary

    def remove(self) -> None:
        pass

    def merge(self) -> None:
        pass
