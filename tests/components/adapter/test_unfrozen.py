"""The base's own weights: which of them train, and what training them in place gives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AutoModel,
    GPT2Config,
    ModernBertConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen3Config,
)

from components.adapter.unfrozen import Unfrozen
from components.errors import SettingError
from tests.components.conftest import CONFIGS, SIZES

IDS = torch.tensor([[7, 8, 9, 10, 11], [20, 21, 22, 23, 24]])
FURTHER: dict[str, PretrainedConfig] = {
    "gpt2": GPT2Config(n_layer=3, n_embd=32, n_head=4, vocab_size=120, n_positions=64),
    "modernbert": ModernBertConfig(**SIZES, pad_token_id=0),
}


def make(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModel.from_config(copy.deepcopy((CONFIGS | FURTHER)[name]))
    return model.eval().requires_grad_(False)


def copies(model: PreTrainedModel, config: Unfrozen) -> dict[str, nn.Parameter]:
    """The trained copies by the names of what they stand for."""
    named = config.build(model).named_parameters()
    return {name.replace("/", "."): parameter for name, parameter in named}


# Model and settings -> prefixes of the names that train.
TRAINED: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("decoder", {}, ("layers.", "norm.")),
    ("decoder", {"last_layers": 1}, ("layers.2.", "norm.")),
    ("decoder", {"last_layers": 2, "embeddings": True},
     ("layers.1.", "layers.2.", "norm.", "embed_tokens.")),
    ("encoder", {}, ("encoder.layer.",)),
    ("encoder", {"last_layers": 2}, ("encoder.layer.1.", "encoder.layer.2.")),
    ("encoder", {"embeddings": True}, ("encoder.layer.", "embeddings.")),
    ("gpt2", {"last_layers": 2}, ("h.1.", "h.2.", "ln_f.")),
    ("gpt2", {"embeddings": True}, ("h.", "ln_f.", "wte.", "wpe.")),
    ("modernbert", {"last_layers": 1}, ("layers.2.", "final_norm.")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "prefixes"), TRAINED)
def test_what_trains(name: str, settings: dict[str, Any], prefixes: tuple[str, ...]) -> None:
    model = make(name)
    expected = [n for n, _ in model.named_parameters() if n.startswith(prefixes)]
    assert list(copies(model, Unfrozen(**settings))) == expected


@pytest.mark.parametrize(("name", "settings", "prefixes"), TRAINED)
def test_steps_are_those_of_plain_training(
    name: str, settings: dict[str, Any], prefixes: tuple[str, ...]
) -> None:
    model, plain = make(name), make(name)
    mine = copies(model, Unfrozen(**settings))
    theirs = {n: p for n, p in plain.named_parameters() if n.startswith(prefixes)}
    for parameter in theirs.values():
        parameter.requires_grad_(True)
    optimizers = [torch.optim.AdamW(p.values(), lr=0.01) for p in (mine, theirs)]
    for step in range(3):
        outs = [one(input_ids=IDS).last_hidden_state for one in (model, plain)]
        assert torch.equal(*outs), step
        weight = torch.randn_like(outs[0])
        for out, optimizer in zip(outs, optimizers, strict=True):
            optimizer.zero_grad()
            (out * weight).sum().backward()
            optimizer.step()
    assert mine.keys() == theirs.keys()
    own = dict(model.named_parameters())
    for key, parameter in theirs.items():
        assert torch.equal(mine[key], parameter), key
        assert not torch.equal(own[key], parameter), key  # the base's own is kept


def test_in_half_precision_steps_are_kept_in_float32() -> None:
    model = make("decoder").to(torch.bfloat16)
    own = {name: p.clone() for name, p in model.named_parameters()}
    before = model(input_ids=IDS).last_hidden_state
    adapter = Unfrozen(last_layers=1).build(model)
    trained = {name.replace("/", "."): p for name, p in adapter.named_parameters()}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    assert torch.equal(model(input_ids=IDS).last_hidden_state, before)
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-5, weight_decay=0)
    for _ in range(2):
        optimizer.zero_grad()
        out = model(input_ids=IDS).last_hidden_state
        assert out.dtype == torch.bfloat16
        out.float().square().sum().backward()
        optimizer.step()
    for name, parameter in trained.items():
        assert parameter.grad is not None and parameter.grad.dtype == torch.float32, name
        assert parameter.grad.isfinite().all(), name
        moved = parameter.detach() - own[name].float()
        # Steps that bfloat16 cannot hold beside the weight are there all the same.
        assert moved.any(), name
    assert all(torch.equal(parameter, own[name]) for name, parameter in model.named_parameters())
    # Each call rounds the copies anew.
    with torch.no_grad():
        for parameter in trained.values():
            parameter.add_(1.0)
    moved_out = model(input_ids=IDS).last_hidden_state
    assert not torch.equal(moved_out, before)
    adapter.remove()
    assert torch.equal(model(input_ids=IDS).last_hidden_state, before)


@pytest.mark.parametrize("name", [*CONFIGS, *FURTHER])
def test_merged_the_base_has_the_trained_weights(name: str) -> None:
    model = make(name).to(torch.bfloat16)
    adapter = Unfrozen(embeddings=True).build(model)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=1e-4)
    adapter.merge()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    for key, parameter in adapter.named_parameters():
        assert torch.equal(model.get_parameter(key.replace("/", ".")), parameter), key


def test_a_weight_with_two_places_is_one_weight() -> None:
    model = make("encoder")
    layers = model.encoder.layer
    layers[2].intermediate.dense.weight = layers[1].intermediate.dense.weight
    adapter = Unfrozen(last_layers=2).build(model)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.fill_(0.5)
    one, other = (layers[i].intermediate.dense.weight for i in (1, 2))
    assert one is other
    assert (one == 0.5).all()
    adapter.remove()
    assert not (layers[2].intermediate.dense.weight == 0.5).any()


def test_depths_count_the_layers_above() -> None:
    adapter = Unfrozen(embeddings=True).build(make("decoder"))
    depths = adapter.base_depths()
    assert depths.keys() == dict(adapter.named_parameters()).keys()
    found = {name.split("/")[0] if name[0] != "l" else name[:8]: d for name, d in depths.items()}
    assert found == {"embed_tokens": 3, "layers/0": 2, "layers/1": 1, "layers/2": 0, "norm": 0}


@pytest.mark.parametrize("layers", [4, 9])
def test_more_layers_than_there_are_is_refused(layers: int) -> None:
    with pytest.raises(SettingError, match=rf"adapter\.last_layers is {layers}; it must be at"):
        Unfrozen(last_layers=layers).build(make("encoder"))


def test_layers_that_share_their_weights_train_together() -> None:
    config = AlbertConfig(**SIZES, embedding_size=16)
    model = AutoModel.from_config(config).eval()
    with pytest.raises(SettingError, match="share the weights of 1"):
        Unfrozen(last_layers=2).build(model)
    assert Unfrozen().build(model).boundary == 0


@pytest.fixture
def packed() -> Callable[[int], Any]:
    from components.base.model import Base

    def make_base(seed: int) -> Base:
        torch.manual_seed(seed)
        model = AutoModel.from_config(Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8))
        base = Base(model, None, 32)  # nothing is tokenized here
        assert base.pack()
        return base

    return make_base


def test_on_packed_tokens_every_weight_has_the_gradient_of_the_plain_model(
    packed: Callable[[int], Any],
) -> None:
    """Norms are computed by code of our own there, which must know their weights' gradients."""
    from components.ragged import Tokens

    base = packed(3)
    assert base._replacements
    plain = copy.deepcopy(base.model).requires_grad_(True)
    plain.set_attn_implementation("sdpa")
    adapter = Unfrozen(embeddings=True).build(base.model)
    sentences = [[7, 8, 9, 10], [20, 21], [5]]
    out = base(Tokens.of(sentences)).values_TD
    weight = torch.randn_like(out)
    (out * weight).sum().backward()
    states = [plain(input_ids=torch.tensor([ids])).last_hidden_state[0] for ids in sentences]
    (torch.cat(states) * weight).sum().backward()
    for name, parameter in adapter.named_parameters():
        wanted = plain.get_parameter(name.replace("/", ".")).grad
        assert parameter.grad is not None and wanted is not None, name
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-4, atol=1e-5, msg=name)
