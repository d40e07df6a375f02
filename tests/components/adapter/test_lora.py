"""LoRA against plain PEFT, and against its formula."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel

from components.adapter.lora import Lora

IDS = torch.tensor([[7, 8, 9, 10, 11], [20, 21, 22, 23, 24]])
QUERY = {"qwen3": "q_proj", "bert": "query"}
VALUE = {"qwen3": "v_proj", "bert": "value"}


def linear_layers(model: PreTrainedModel) -> list[str]:
    return [name for name, module in model.named_modules() if hasattr(module, "lora_A")]


@pytest.mark.parametrize("options", [{}, {"last_layers": 1, "rank": 3, "alpha": 5.0}])
def test_equals_plain_peft(model: PreTrainedModel, options: dict[str, Any]) -> None:
    kind = model.config.model_type
    names = [QUERY[kind], VALUE[kind]]
    other = copy.deepcopy(model)
    rank = options.get("rank", 16)
    plain = get_peft_model(
        other,
        LoraConfig(
            r=rank,
            lora_alpha=options.get("alpha", 2 * rank),
            target_modules=rf".*\.{2 if options else '[012]'}\..*({'|'.join(names)})",
        ),
    )
    adapter = Lora(targets=names, **options).build(model)
    theirs = [p for p in plain.parameters() if p.requires_grad]
    mine = list(adapter.parameters())
    assert [p.shape for p in mine] == [p.shape for p in theirs]
    with torch.no_grad():
        for one, two in zip(mine, theirs, strict=True):
            one.copy_(two.normal_(std=0.1))
    outs = [m(input_ids=IDS).last_hidden_state for m in (model, other)]
    torch.testing.assert_close(outs[0], outs[1], rtol=0, atol=1e-6)
    weight = torch.randn_like(outs[0])
    got = torch.autograd.grad((outs[0] * weight).sum(), mine)
    want = torch.autograd.grad((outs[1] * weight).sum(), theirs)
    for one, two in zip(got, want, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("last", "layers"), [(1, {2}), (2, {1, 2}), ("all", {0, 1, 2})])
def test_only_the_last_layers(model: PreTrainedModel, last: Any, layers: set[int]) -> None:
    adapter = Lora(targets="all-linear", last_layers=last, rank=2).build(model)
    found = {int(part) for name in linear_layers(model) for part in name.split(".") if
             part.isdecimal()}  # fmt: skip
    assert found == layers
    assert adapter.boundary == min(layers)


def test_targets(model: PreTrainedModel) -> None:
    kind = model.config.model_type
    adapter = Lora(targets="auto").build(model)
    automatic = linear_layers(model)
    adapter.remove()
    adapter = Lora(targets=[QUERY[kind], VALUE[kind]]).build(model)
    assert linear_layers(model) == automatic
    adapter.remove()
    Lora(targets="all-linear").build(model)
    assert len(linear_layers(model)) == 3 * (7 if kind == "qwen3" else 6)


def test_the_update_is_scaled_by_alpha_over_rank(model: PreTrainedModel) -> None:
    kind = model.config.model_type
    adapter = Lora(targets=[QUERY[kind]], last_layers=1, rank=4, alpha=12.0).build(model)
    (name,) = linear_layers(model)
    layer = model.get_submodule(name)
    down, up = adapter.parameters()
    torch.nn.init.normal_(up)
    x = torch.randn(3, 32)
    expected = layer.base_layer(x) + 12.0 / 4 * (x @ down.T @ up.T)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-5)


def test_dropout_acts_in_training_only(model: PreTrainedModel) -> None:
    adapter = Lora(targets="all-linear", dropout=0.5).build(model)
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.1)

    def out() -> torch.Tensor:
        state: torch.Tensor = model(input_ids=IDS).last_hidden_state
        return state

    adapter.eval()
    still = out()
    assert torch.equal(out(), still)
    adapter.train()
    assert not torch.equal(out(), out())
    assert not model.training, "the base's own dropout stays off"
    adapter.eval()
    assert torch.equal(out(), still)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": ["no_such"]}, r"'no_such', which matches no linear layer .* must be among"),
        ({"targets": ["dense", "q_proj"]}, "matches no linear layer"),
        ({"last_layers": 4}, r"adapter.last_layers is 4; it must be at most 3"),
    ],
)
def test_what_matches_nothing_is_refused_and_leaves_the_base(
    model: PreTrainedModel, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Lora(**options).build(model)
    assert not linear_layers(model)


def test_at_the_first_step_only_b_learns(model: PreTrainedModel) -> None:
    adapter = Lora(rank=2).build(model)
    out = model(input_ids=IDS).last_hidden_state
    (out * torch.randn_like(out)).sum().backward()
    halves = {"lora_A": 0, "lora_B": 0}
    for name, parameter in adapter.named_parameters():
        (half,) = (half for half in halves if half in name)
        halves[half] += 1
        assert parameter.grad is not None, name
        # dL/dA carries the factor B, which is zero; dL/dB carries A, which is random.
        assert bool(parameter.grad.any()) == (half == "lora_B"), name
        assert bool(parameter.any()) == (half == "lora_A"), name
    assert halves["lora_A"] == halves["lora_B"] > 0


def test_all_linear_is_the_list_of_all_of_them(model: PreTrainedModel) -> None:
    torch.manual_seed(1)
    whole = Lora(targets="all-linear", rank=2, last_layers=2).build(model)
    drawn = {name: p.detach().clone() for name, p in whole.named_parameters()}
    whole.remove()
    names = {
        "qwen3": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        "bert": ["query", "key", "value", "dense"],
    }[model.config.model_type]
    torch.manual_seed(1)
    listed = Lora(targets=names, rank=2, last_layers=2).build(model)
    assert [name for name, _ in listed.named_parameters()] == list(drawn)
    for name, parameter in listed.named_parameters():
        assert torch.equal(parameter, drawn[name]), name
    # BERT's pooler is a dense layer too, but behind the layers: no state ever comes from it.
    assert not any("pooler" in name for name in drawn)


@torch.no_grad()
def test_merging_into_bfloat16_keeps_the_update_whole(model: PreTrainedModel) -> None:
    model.to(torch.bfloat16)
    names = [QUERY[model.config.model_type]]
    adapter = Lora(targets=names, last_layers=1, rank=2, alpha=2.0).build(model)
    (name,) = linear_layers(model)
    down, up = adapter.parameters()
    up.normal_(std=1e-4)  # far below what the bfloat16 weights can resolve
    expected = model.get_submodule(name).base_layer.weight.float() + up @ down
    adapter.merge()
    merged = model.get_submodule(name).weight
    assert merged.dtype == torch.float32
    torch.testing.assert_close(merged, expected, rtol=0, atol=1e-7)


def test_the_default_alpha_is_twice_the_rank(model: PreTrainedModel) -> None:
    outs = []
    for alpha in (None, 6.0):
        torch.manual_seed(3)
        adapter = Lora(rank=3, alpha=alpha).build(model)
        for parameter in adapter.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        outs.append(model(input_ids=IDS).last_hidden_state.detach())
        adapter.remove()
    assert torch.equal(outs[0], outs[1])
