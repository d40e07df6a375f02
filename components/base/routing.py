"""Which tokens of a call of the base belong to which family."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True)
class Routes:
    """The families of the tokens in one call of the model.

    Attributes:
        family_X: int64 index into the run's families, one for each token the model is given, in
            its order, pads included.
    """

    family_X: Tensor

    @cached_property
    def _places(self) -> dict[int, Tensor]:
        return {}

    def places(self, family: int) -> Tensor:
        """Where the tokens of a family stand; found once, for all layers."""
        if family not in self._places:
            self._places[family] = (self.family_X == family).nonzero().squeeze(1)
        return self._places[family]


_current: ContextVar[Routes] = ContextVar("routes")


@contextmanager
def routed(family_X: Tensor) -> Iterator[None]:
    """Let adapters know, for the call inside, the family of each token."""
    token = _current.set(Routes(family_X))
    try:
        yield
    finally:
        _current.reset(token)


def routes() -> Routes:
    """The families of the tokens in the call under way.

    Raises:
        LookupError: the model was not called through its `Base`, or without families.
    """
    return _current.get()
