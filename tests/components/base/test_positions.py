"""The longest sequence of each architecture: it runs, and one token more does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from components.base import BaseConfig, load, load_skeleton
from components.base.positions import last_position
from components.ragged import Tokens
from tests.components.base.tiny_models import (
    CONFIGS,
    LEARNED,
    MADE_FOR,
    POSITIONS,
    UNLIMITED,
    WITH_IMAGES,
    random_model,
    write_folder,
)


@torch.no_grad()
@pytest.mark.parametrize("name", LEARNED)
def test_the_last_position_of_a_table_is_the_last_that_runs(name: str) -> None:
    config, longest = LEARNED[name]
    model = random_model(config)
    assert last_position(model) == longest
    assert model(input_ids=torch.full((1, longest), 7)).last_hidden_state.shape[1] == longest
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, longest + 1), 7))


@torch.no_grad()
@pytest.mark.parametrize("name", [*MADE_FOR, *UNLIMITED])
def test_without_a_table_a_model_runs_on_and_only_its_settings_limit_it(name: str) -> None:
    model = random_model(CONFIGS[name])
    assert last_position(model) == (POSITIONS if name in MADE_FOR else None)
    longer = POSITIONS + 6
    assert model(input_ids=torch.full((1, longer), 7)).last_hidden_state.shape[1] == longer


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_a_base_runs_at_its_largest_length_as_its_model_does(name: str, tmp_path: Path) -> None:
    write_folder(tmp_path, CONFIGS[name])
    longest = LEARNED[name][1] if name in LEARNED else POSITIONS
    wanted = longest if name in UNLIMITED else 999
    skeleton, base = (
        function(BaseConfig(model=str(tmp_path), max_length=wanted))
        for function in (load_skeleton, load)
    )
    assert skeleton.max_length == base.max_length == longest
    assert skeleton.notes == base.notes
    if name in UNLIMITED:
        assert base.notes == ()
    else:
        (note,) = base.notes
        assert note.startswith(f"sentences are cut at {longest} tokens, where the positions of a ")
        assert note.endswith(" of this size end, and not at base.max_length, 999")
        assert base.cut_reason in note
    ids = base.tokenize(["x" * 200, "a b"])
    assert len(ids[0]) == longest
    got = base(Tokens.of(ids))
    if base.position_offset is not None:  # back from packed sentences to the model's own way
        base.model.set_attn_implementation("eager")
    for one, states_TD in zip(ids, got.values_TD.split([len(i) for i in ids]), strict=True):
        expected_TD = base.model(input_ids=torch.tensor([one])).last_hidden_state[0]
        torch.testing.assert_close(states_TD, expected_TD, rtol=1e-4, atol=1e-4)


def test_the_model_of_text_is_what_is_taken_of_a_model_of_images_too(tmp_path: Path) -> None:
    for name, config in WITH_IMAGES.items():
        whole = write_folder(tmp_path / name, config)
        base = load(BaseConfig(model=str(tmp_path / name)))
        assert base.width == 32
        whole_weights = {p.shape: p for p in whole.parameters()}
        assert 0 < len(list(base.model.parameters())) < len(list(whole.parameters()))
        table = base.model.get_input_embeddings().weight
        assert torch.equal(table, whole_weights[table.shape])
