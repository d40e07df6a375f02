"""What torch hands to the passes of a custom function, by type: torch itself leaves it untyped."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class PassContext(Protocol):
    """Carries tensors from the forward to the backward pass of a `torch.autograd.Function`.

    Attributes:
        saved_tensors: those that the forward pass saved.
        needs_input_grad: for each argument of the forward pass, whether it needs a gradient.
    """

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]: ...

    @property
    def needs_input_grad(self) -> tuple[bool, ...]: ...

    def save_for_backward(self, *tensors: Tensor) -> None: ...
