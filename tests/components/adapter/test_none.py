"""No adapter."""

from __future__ import annotations

from transformers import PreTrainedModel

from components.adapter.none import NoAdapterConfig


def test_trains_nothing_and_freezes_every_layer(model: PreTrainedModel) -> None:
    adapter = NoAdapterConfig().build(model)
    assert not list(adapter.parameters())
    assert adapter.boundary == 3
