"""A trial's config: strict, complete, and the same after a round trip through plain data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from components.other_model import OtherModel
from search.settings.trial import TrialConfig, changed_settings, flatten, varied_settings
from search.space.grid import identity

BASE = {"model": "builtin:tiny"}


def test_what_is_left_out_is_the_plain_component() -> None:
    config = TrialConfig.of({"base": BASE})
    parts = (config.pooling, config.head, config.adapter, config.loss)
    assert [part.kind for part in parts] == ["mean", "linear", "none", "info_nce"]


def test_a_config_survives_plain_data() -> None:
    config = TrialConfig.of(
        {
            "base": BASE,
            "pooling": {"kind": "attention", "heads": 4},
            "adapter": {"kind": "lora", "targets": ["q_proj"], "last_layers": 2},
        }
    )
    plain = json.loads(json.dumps(config.model_dump()))
    assert TrialConfig.model_validate(plain) == config
    assert plain["adapter"]["kind"] == "lora"  # a variant's own settings are dumped, not its base's
    assert plain["adapter"]["targets"] == ["q_proj"]


def test_what_is_left_out_mines_nothing_asks_no_teacher_and_is_of_no_case() -> None:
    config = TrialConfig.of({"base": BASE})
    assert (config.negatives.kind, config.miner, config.teachers) == ("none", None, ())
    assert config.case is None
    training = config.training
    assert (training.matryoshka, training.chunk_tokens, training.gather) == (None, None, True)


def test_other_models_are_named_by_the_parts_that_ask_for_them() -> None:
    sum_of = {
        "kind": "sum",
        "weights": {"info_nce": 1.0, "distillation": 1.0},
        "settings": {"distillation": {"teacher": "a/b"}},
    }
    config = TrialConfig.of(
        {"base": BASE, "loss": sum_of, "negatives": {"kind": "mined", "encoder": "c/d"}}
    )
    assert (config.teachers, config.miner) == ((OtherModel("a/b"),), OtherModel("c/d"))
    own = TrialConfig.of({"base": BASE, "negatives": {"kind": "mined", "every": 3}})
    assert own.miner is None


def test_a_fixed_encoder_finds_the_same_in_every_epoch() -> None:
    mined = {"kind": "mined", "encoder": "c/d", "every": 2}
    with pytest.raises(ValidationError, match="it must be left out, or encoder"):
        TrialConfig.of({"base": BASE, "negatives": mined})


def test_the_sections_of_a_search_are_left_out() -> None:
    values = {"base": BASE, "search": {"trials": 3}, "data": {"train": "x"}, "lane": {}}
    assert TrialConfig.of(values) == TrialConfig.of({"base": BASE})


@pytest.mark.parametrize(
    "sections",
    [
        {"optimizer": {"lr": float("nan")}},
        {"optimizer": {"lr": float("inf")}},
        {"optimizer": {"lr": "1e-3"}},
        {"training": {"batch_size": 8.0}},
        {"training": {"batch_size": True}},
        {"training": {"epochs": 3}},
        {"pooling": {"kind": "median"}},
        {"pooling": {"kind": "mean", "heads": 2}},
        {"training": {"matryoshka": []}},
        {"training": {"matryoshka": [0]}},
        {"training": {"matryoshka": 8}},
        {"training": {"chunk_tokens": 0}},
        {"training": {"gather": 1}},
        {"negatives": {"kind": "none", "count": 2}},
        {"negatives": {"kind": "mined", "count": 0}},
        {"negatives": {"kind": "mined", "margin": 0.0}},
        {"negatives": {"kind": "mined", "margin": 1.5}},
        {"negatives": {"kind": "mined", "pool": 1}},
        {"negatives": {"kind": "mined", "every": 0}},
        {"negatives": {"kind": "mined", "encoder": ""}},
        {"case": 3},
    ],
)
def test_loose_values_are_refused(sections: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrialConfig.of({"base": BASE} | sections)


def test_a_config_cannot_be_changed() -> None:
    config = TrialConfig.of({"base": BASE})
    with pytest.raises(ValidationError):
        config.training.batch_size = 3  # type: ignore[misc]


def test_flatten_joins_keys_and_keeps_lists() -> None:
    nested = {"a": 1, "b": {"c": [1, {"d": 2}], "e": {"f": None}}, "g": {}}
    assert flatten(nested) == {"a": 1, "b.c": [1, {"d": 2}], "b.e.f": None}


def test_what_is_varied_is_told_at_its_default_too() -> None:
    base = {"base": {"model": "m"}}
    reference = TrialConfig.model_validate(base).plain()
    first, second = (
        TrialConfig.model_validate({**base, "adapter": {"kind": "lora", "rank": rank}}).plain()
        for rank in (16, 4)
    )
    assert changed_settings(first, reference) == [("adapter.kind", "lora", "none")]
    varied = varied_settings([reference, first, second])
    assert varied == {"adapter.kind", "lora adapter.rank"}
    assert changed_settings(first, reference, varied) == [
        ("adapter.kind", "lora", "none"),
        ("adapter.rank", 16, None),
    ]
    # What another kind calls the same is another setting.
    unfrozen = {"kind": "unfrozen", "last_layers": 2}
    other = TrialConfig.model_validate({**base, "adapter": unfrozen}).plain()
    assert varied_settings([reference, first, other]) == {"adapter.kind"}


def test_where_nothing_trains_what_training_reads_changes_nothing() -> None:
    base = {"base": {"model": "m"}, "head": {"kind": "identity"}}
    reference = TrialConfig.model_validate(base).plain()
    other = TrialConfig.model_validate(
        {**base, "pooling": {"kind": "max"}, "optimizer": {"lr": 0.5}, "training": {"seed": 3}}
    )
    assert not other.trains
    assert changed_settings(other.plain(), reference) == [("pooling.kind", "max", "mean")]


def test_pairs_are_drawn_by_their_own_seed_or_that_of_the_trial() -> None:
    def identity_of(**seeds: int | None) -> str:
        return identity(TrialConfig.model_validate({"base": {"model": "m"}, "training": seeds}))

    assert identity_of(seed=3) == identity_of(seed=3, pairs_seed=3)
    assert identity_of(seed=3) != identity_of(seed=3, pairs_seed=4)
    assert identity_of(seed=3) != identity_of(seed=4)
