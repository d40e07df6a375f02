"""Up to a layer and on from there, against the whole model at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from peft import get_peft_model_state_dict
from torch import Tensor, nn
from transformers import (
    AutoModel,
    DistilBertConfig,
    GPT2Config,
    GPTNeoXConfig,
    MPNetConfig,
    Phi3Config,
    PretrainedConfig,
    Qwen3Config,
    Qwen3Model,
)
from transformers.modeling_outputs import BaseModelOutputWithPast

from components.adapter.family_lora import FamilyLora
from components.adapter.lora import Lora
from components.base.cut import StopForward, started_at, stopped_at
from components.base.model import Base
from components.base.structure import layers_of
from components.low_rank import LowRankAdapter
from components.ragged import States, Tokens
from tests.components.base.test_packing import KEYS, PACKED, base_of
from tests.components.conftest import SIZES

DEPTH = 3
ENDS = {"bos_token_id": 1, "eos_token_id": 2}
CUT: list[PretrainedConfig] = [
    *PACKED,
    GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=64, vocab_size=120, **ENDS),
    GPTNeoXConfig(**SIZES, **ENDS),
    Phi3Config(**SIZES, **KEYS, **ENDS, pad_token_id=0),
    DistilBertConfig(
        dim=32, n_layers=3, n_heads=4, hidden_dim=48, vocab_size=120, max_position_embeddings=64
    ),
]
ADAPTERS: dict[str, dict[str, Any]] = {
    "lora": {"dropout": 0.3},
    "dora": {"dora": True},
    "family": {"shared": True, "dropout": 0.3},
}


# PEFT says that it turns GPT-2's weights round.
pytestmark = pytest.mark.filterwarnings("ignore:fan_in_fan_out:UserWarning")


@pytest.fixture(scope="module", params=CUT, ids=lambda config: config.model_type)
def base(request: pytest.FixtureRequest) -> Base:
    """Packed, of three layers, each of which changes much."""
    torch.manual_seed(0)
    model = AutoModel.from_config(copy.deepcopy(request.param))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
    made = base_of(model)
    assert made.pack()
    assert made.depth == DEPTH
    return made


@pytest.fixture
def tokens() -> Tokens:
    """Sentences of every length from 1 to 23, and more of some, in no order."""
    lengths = torch.randperm(23).tolist()
    return Tokens.of([torch.randint(5, 120, (1 + n,)).tolist() for n in [*lengths, 0, 6, 6]])


@pytest.fixture(autouse=True)
def _left_as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test does, the model's modules are the same afterwards, and no hook is left."""
    if "base" not in request.fixturenames:
        yield
        return
    model = request.getfixturevalue("base").model
    before = list(model.named_modules())
    yield
    after = list(model.named_modules())
    assert [name for name, _ in after] == [name for name, _ in before]
    assert all(one is other for (_, one), (_, other) in zip(after, before, strict=True))
    assert not any(module._forward_pre_hooks for _, module in after)


def built(base: Base, kind: str, boundary: int) -> LowRankAdapter:
    """An adapter in the layers from a boundary on, with weights away from its start."""
    options: dict[str, Any] = {"rank": 2, "targets": "all-linear", **ADAPTERS[kind]}
    options["last_layers"] = DEPTH - boundary
    config = FamilyLora(**options) if kind == "family" else Lora(**options)
    adapter = config.build(base.model, ("cjk", "latin"))
    assert adapter.boundary == boundary
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, std=0.1)
    assert isinstance(adapter, LowRankAdapter)
    return adapter


@torch.no_grad()
def test_below_then_above_is_the_whole(base: Base, tokens: Tokens) -> None:
    whole = base(tokens)
    assert torch.equal(base.run_until(tokens, DEPTH).values_TD, whole.values_TD)
    for boundary in range(1, DEPTH):
        below = base.run_until(tokens, boundary)
        assert torch.equal(below.offsets, tokens.offsets)
        assert not torch.allclose(below.values_TD, whole.values_TD, atol=0.1)
        above = base.run_from(below, boundary)
        assert torch.equal(above.values_TD, whole.values_TD)
        assert torch.equal(above.offsets, tokens.offsets)
        assert base.can_split_at(boundary)


@torch.no_grad()
def test_what_enters_a_layer_is_what_transformers_says(tokens: Tokens) -> None:
    """Of one sentence at a time, from transformers' own list of states."""
    base = base_of(AutoModel.from_config(copy.deepcopy(PACKED[0])))
    ends = tokens.offsets.tolist()
    alone = [
        base.model(input_ids=tokens.ids_T[None, a:b], output_hidden_states=True).hidden_states
        for a, b in zip(ends[:-1], ends[1:], strict=True)
    ]
    assert base.pack()
    for boundary in range(1, DEPTH + 1):
        want = torch.cat([states[boundary].squeeze(0) for states in alone])
        got = base.run_until(tokens, boundary).values_TD
        torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_sentence_may_be_taken_out_of_its_batch(base: Base, tokens: Tokens) -> None:
    """States that were computed in one batch serve in any other."""
    whole = base(tokens).values_TD
    ends = tokens.offsets.tolist()
    for boundary in range(1, DEPTH):
        below = base.run_until(tokens, boundary).values_TD
        for chosen in ([5], [20, 3, 3], list(range(0, 26, 2))):
            places = torch.cat([torch.arange(ends[b], ends[b + 1]) for b in chosen])
            offsets = torch.tensor([0, *(ends[b + 1] - ends[b] for b in chosen)]).cumsum(0)
            above = base.run_from(States(below[places], offsets), boundary)
            assert torch.equal(above.values_TD, whole[places])


@pytest.mark.parametrize("kind", ADAPTERS)
def test_values_and_gradients_with_an_adapter_above(base: Base, tokens: Tokens, kind: str) -> None:
    family_B = torch.arange(len(tokens)) % 3  # the last of them is none that is known
    weight_TD = torch.randn(len(tokens.ids_T), 32)

    def outcome(states: States) -> list[Tensor]:
        loss = (states.values_TD * weight_TD).sum()
        return [states.values_TD, *torch.autograd.grad(loss, list(adapter.parameters()))]

    for boundary in range(1, DEPTH):
        with torch.no_grad():
            plain = base(tokens).values_TD
            frozen = base.run_until(tokens, boundary).values_TD
        adapter = built(base, kind, boundary)
        adapter.train()
        try:
            with torch.no_grad():  # the layers below are still those of the base alone
                below = base.run_until(tokens, boundary)
            assert torch.equal(below.values_TD, frozen)
            torch.manual_seed(1)
            whole = outcome(base(tokens, family_B))
            torch.manual_seed(1)
            after = outcome(base.run_from(below, boundary, family_B))
        finally:
            adapter.remove()
        assert not torch.allclose(whole[0], plain, atol=1e-3)
        for got, want in zip(after, whole, strict=True):
            assert torch.equal(got, want)
        assert all(grad.abs().sum() > 0 for grad in whole[1:])


@pytest.mark.parametrize("kind", ["lora", "family"])
def test_adapter_weights_keep_their_names(base: Base, kind: str) -> None:
    adapter = built(base, kind, 2)
    (peft,) = adapter._peft
    name, layers = layers_of(base.model)

    def names() -> list[str]:
        sets = [get_peft_model_state_dict(peft, adapter_name=one) for one in peft.peft_config]
        return [*(key for weights in sets for key in weights), *base.model.state_dict()]

    try:
        before = names()
        adapted = [key for key in before if "lora_" in key]
        assert adapted and all(f"{name}.2." in key for key in adapted)
        with started_at(layers, 2, torch.zeros(1, 1, 32)):
            # Nothing of the layers below is there, under any name; the others stay where they were.
            inside = names()
        assert inside == [key for key in before if not _in_layers(key, name, (0, 1))]
        assert names() == before
    finally:
        adapter.remove()


def _in_layers(key: str, path: str, numbers: Sequence[int]) -> bool:
    return any(f"{path}.{number}." in key for number in numbers)


def test_an_exception_leaves_nothing_behind(base: Base, tokens: Tokens) -> None:
    with torch.no_grad():
        expected = base(tokens).values_TD
    _, layers = layers_of(base.model)
    below = base.run_until(tokens, 2)
    with pytest.raises(KeyError), started_at(layers, 2, below.values_TD.unsqueeze(0)):
        raise KeyError
    with pytest.raises(KeyError), stopped_at(layers[1]):
        raise KeyError
    # From inside the model: states of another width fit the last layer no more.
    narrow = States(below.values_TD[:, :7], below.offsets)
    with pytest.raises(RuntimeError):
        base.run_from(narrow, 2)

    def broken(*args: Any) -> None:
        raise KeyError

    handle = layers[1].register_forward_pre_hook(broken)
    with pytest.raises(KeyError):
        base.run_until(tokens, 2)
    handle.remove()
    with torch.no_grad():
        assert torch.equal(base(tokens).values_TD, expected)


def test_a_call_stops_at_the_layer_and_not_behind_it(base: Base, tokens: Tokens) -> None:
    _, layers = layers_of(base.model)
    ran: list[int] = []
    handles = [
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
        for index, layer in enumerate(layers)
    ]
    below = base.run_until(tokens, 2)
    assert ran == [0, 1]
    ran.clear()
    base.run_from(below, 1)
    assert ran == [1, 2]
    for handle in handles:
        handle.remove()
    with pytest.raises(StopForward) as reached, stopped_at(layers[0]):
        base(tokens)
    assert reached.value.states.shape[-1] == 32


def test_a_padded_base_cannot_be_cut() -> None:
    base = base_of(AutoModel.from_config(MPNetConfig(**SIZES)))
    assert not base.pack()
    assert not any(base.can_split_at(boundary) for boundary in range(DEPTH + 1))


class Skipping(Qwen3Model):  # type: ignore[misc]  # mypy skips the library
    """Its last layer is also given what the first one said."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        states = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if position_ids is None:
            position_ids = torch.arange(states.shape[1]).unsqueeze(0)
        turns = self.rotary_emb(states, position_ids)
        said: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            if index == DEPTH - 1:
                states = states + said[0]
            states = layer(states, position_embeddings=turns, use_cache=False)
            said.append(states)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(states))


@torch.no_grad()
def test_a_model_whose_layers_feed_others_cannot_be_cut_there(tokens: Tokens) -> None:
    base = base_of(Skipping(Qwen3Config(**SIZES, **KEYS, head_dim=8)))
    assert base.pack()
    assert base.can_split_at(1)  # what the first layer said is what was stored
    assert torch.equal(
        base.run_from(base.run_until(tokens, 1), 1).values_TD, base(tokens).values_TD
    )
    assert not base.can_split_at(2)
    wrong = base.run_from(base.run_until(tokens, 2), 2).values_TD
    assert not torch.allclose(wrong, base(tokens).values_TD, atol=0.1)
