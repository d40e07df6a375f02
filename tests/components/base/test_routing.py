"""Which tokens of a call belong to which family."""

from __future__ import annotations

import pytest
import torch

from components.base.routing import routed, routes


def test_places_of_each_family() -> None:
    family = torch.tensor([2, 0, 3, 2, 2, 0])
    with routed(family):
        found = [routes().places(index).tolist() for index in range(5)]
        assert found == [[1, 5], [], [0, 3, 4], [2], []]
        assert routes().places(1).dtype == torch.int64, "an empty one is an index too"


def test_places_are_found_once_for_all_layers() -> None:
    with routed(torch.tensor([0, 1, 0])):
        assert routes().places(0) is routes().places(0)
        assert routes().places(0) is not routes().places(1)


def test_each_call_has_its_own_families() -> None:
    with routed(torch.tensor([0, 1])):
        assert routes().places(0).tolist() == [0]
        with routed(torch.tensor([1, 1, 0])):
            assert routes().places(0).tolist() == [2]
        assert routes().places(0).tolist() == [0]
    with routed(torch.tensor([1, 0])):
        assert routes().places(0).tolist() == [1]


def test_outside_of_a_call_there_are_none() -> None:
    with pytest.raises(LookupError):
        routes()
    with pytest.raises(RuntimeError, match="in the model"), routed(torch.tensor([0])):
        raise RuntimeError("in the model")
    with pytest.raises(LookupError):
        routes()
