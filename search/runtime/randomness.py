"""The state of torch's random generators, to be put back later."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def random_state() -> list[Tensor]:
    """State of the CPU's generator, then of the current GPU's, if there is one."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states.append(torch.cuda.get_rng_state())
    return states


def set_random_state(states: Sequence[Tensor]) -> None:
    """Put back what `random_state` gave; without a GPU, only the CPU's."""
    torch.set_rng_state(states[0])
    if torch.cuda.is_available() and len(states) > 1:
        torch.cuda.set_rng_state(states[1])
