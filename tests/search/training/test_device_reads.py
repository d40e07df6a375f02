"""A step asks the device for nothing: it would wait there for all the work before.

Shown on torch's meta device, whose tensors hold no numbers: what a GPU would be asked for, the size
of a result or a value, raises there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from components.base import Base, BaseConfig, load_skeleton
from components.base.packing import NAME
from components.encoder import assemble
from search.data.pairs import Pairs
from search.data.tokens import TokenisedCorpus
from search.runtime.ranks import Ranks
from search.settings.trial import TrialConfig
from search.training.step import Objective, build_loss

SIZE, BATCH = 40, 16
STEPS: dict[str, dict[str, Any]] = {
    "mean, linear": {},
    "max, mlp": {"pooling": {"kind": "max"}, "head": {"kind": "mlp", "hidden": 16}},
    "attention, moe": {"pooling": {"kind": "attention"}, "head": {"kind": "moe"}},
    "position weighted": {"pooling": {"kind": "position_weighted"}},
    "lora": {"adapter": {"kind": "lora", "targets": "all-linear", "last_layers": 2}},
    "triplet": {"loss": {"kind": "triplet"}},
    "circle": {"loss": {"kind": "circle"}},
    "mnrl": {"loss": {"kind": "mnrl", "directions": ["query_to_doc", "doc_to_doc"]}},
}


@pytest.fixture(scope="module")
def corpus() -> TokenisedCorpus:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 20, (2, SIZE))
    ends = np.cumsum(lengths.ravel()).reshape(lengths.shape)
    return TokenisedCorpus(
        languages=("en", "de"),
        pivot=0,
        ids=rng.integers(5, 110, ends[-1, -1]).astype(np.int32),
        starts=np.concatenate([ends[:, :1] - lengths[:, :1], ends], axis=1),
        text=np.arange(2 * SIZE).reshape(2, SIZE),
        family_of_language=("latin", "latin"),
    )


@pytest.fixture(scope="module")
def base() -> Base:
    """Without weights, and packed as the loaded one is."""
    made = load_skeleton(BaseConfig(model="builtin:tiny"))
    made.position_offset = 0
    made.model.set_attn_implementation(NAME)
    return made


@pytest.mark.parametrize("name", STEPS)
def test_a_step_asks_the_device_for_nothing(base: Base, corpus: TokenisedCorpus, name: str) -> None:
    trial = TrialConfig.of({"base": {"model": "builtin:tiny"}} | STEPS[name])
    with torch.device("meta"):
        encoder = assemble(base, trial.adapter, trial.pooling, trial.head, corpus.families)
        loss = build_loss(trial, base.width, {})
    try:
        objective = Objective(encoder, loss, corpus, Ranks(), teachers={}).to("meta")
        scalar = objective.backward(next(Pairs(corpus, BATCH, 5.0, 0).epoch(0, BATCH, None)))
        assert scalar.device.type == "meta"
        assert objective.trained
        assert all(parameter.grad is not None for parameter in objective.trained)
        with pytest.raises(RuntimeError):
            scalar.item()  # what a step that asked would end in
    finally:
        encoder.close()
