"""The random state: once it is put back, the same numbers come again."""

from __future__ import annotations

import pytest
import torch

from search.runtime.randomness import random_state, set_random_state


def test_the_same_numbers_come_again() -> None:
    torch.manual_seed(3)
    torch.rand(5)
    state = random_state()
    first = torch.rand(4)
    assert not torch.equal(torch.rand(4), first)
    set_random_state(state)
    assert torch.equal(torch.rand(4), first)
    set_random_state(state)  # what was taken does not move on with the generator
    assert torch.equal(torch.rand(4), first)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_only_that_of_the_cpu_is_put_back() -> None:
    state = random_state()
    assert len(state) == 1
    first = torch.rand(4)
    set_random_state([*state, torch.zeros(16, dtype=torch.uint8)])  # taken where there was one
    assert torch.equal(torch.rand(4), first)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_that_of_the_gpu_is_put_back_where_it_was_taken() -> None:
    state = random_state()
    first = torch.rand(4, device="cuda")
    set_random_state(state)
    assert torch.equal(torch.rand(4, device="cuda"), first)
    set_random_state(state[:1])  # taken where there was no GPU
    assert not torch.equal(torch.rand(4, device="cuda"), first)
