"""LoRA against plain PEFT, and against its formula."""

from __future__ import annotations

import copy
import functools
import warnings
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AlbertConfig,
    AutoModel,
    GPT2Config,
    MPNetConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen3Config,
)

from components.adapter.lora import Lora, _LoraLinear
from components.interface import Adapter
from tests.components.conftest import CONFIGS, SIZES

IDS = torch.tensor([[7, 8, 9, 10, 11], [20, 21, 22, 23, 24]])
QUERY = {"qwen3": "q_proj", "bert": "query"}
VALUE = {"qwen3": "v_proj", "bert": "value"}
AUTO = {"qwen3": ["q_proj", "v_proj"], "bert": ["query", "value"], "gpt2": ["c_attn"]}
LINEAR = {
    "qwen3": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "bert": ["query", "key", "value", "dense"],
    "gpt2": ["c_attn", "c_proj", "c_fc"],
}
SMALL = {
    "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50
}  # fmt: skip


def linear_layers(model: PreTrainedModel) -> list[str]:
    return [name for name, module in model.named_modules() if hasattr(module, "lora_A")]


@pytest.fixture(params=[*CONFIGS, "conv1d"])
def any_model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """As `model`, and GPT-2, whose linear layers hold their weights the other way round."""
    gpt2 = GPT2Config(n_layer=3, n_embd=32, n_head=4, vocab_size=120, n_positions=64)
    config = copy.deepcopy(CONFIGS.get(request.param, gpt2))
    made: PreTrainedModel = AutoModel.from_config(config, attn_implementation="eager")
    return made.eval()


# Our settings -> PEFT's for the same.
SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the default": ({"targets": "auto"}, {"r": 16, "lora_alpha": 32}),
    "rank and alpha": ({"rank": 3, "alpha": 5.0}, {"r": 3, "lora_alpha": 5.0}),
    "rslora": ({"rank": 3, "rslora": True}, {"r": 3, "lora_alpha": 6, "use_rslora": True}),
    "dora": ({"rank": 3, "dora": True}, {"r": 3, "lora_alpha": 6, "use_dora": True}),
    "both": (
        {"rank": 3, "alpha": 2.0, "rslora": True, "dora": True},
        {"r": 3, "lora_alpha": 2.0, "use_rslora": True, "use_dora": True},
    ),
    "the last layer": ({"rank": 3, "last_layers": 1}, {"r": 3, "lora_alpha": 6}),
    "dora in all of the last two": (
        {"rank": 2, "last_layers": 2, "targets": "all-linear", "dora": True},
        {"r": 2, "lora_alpha": 4, "use_dora": True},
    ),
    "dropout that is off": (
        {"rank": 3, "dropout": 0.5},
        {"r": 3, "lora_alpha": 6, "lora_dropout": 0.5},
    ),
}


def beside(
    model: PreTrainedModel, ours: dict[str, Any], theirs: dict[str, Any]
) -> tuple[Adapter, PeftModel]:
    """Our adapter in the model, and plain PEFT with the same weights in a copy of it."""
    kind = model.config.model_type
    names = LINEAR[kind] if ours.get("targets") == "all-linear" else AUTO[kind]
    layers = "012"[-ours.get("last_layers", 3) :]
    pattern = rf"(.*\.)?[{layers}]\..*\b({'|'.join(names)})"
    other = copy.deepcopy(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = get_peft_model(other, LoraConfig(target_modules=pattern, **theirs))
        adapter = Lora(**({"targets": names} | ours)).build(model)
    trained = {name: p for name, p in plain.named_parameters() if p.requires_grad}
    mine = {name.replace("/", "."): p for name, p in adapter.named_parameters()}
    assert [(n, p.shape) for n, p in mine.items()] == [(n, p.shape) for n, p in trained.items()]
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
            mine[name].copy_(parameter)
    return adapter, plain


def same(model: PreTrainedModel, adapter: Adapter, plain: PeftModel) -> None:
    """Values and gradients are, drawn from the same seed, where rounding hides nothing."""
    weight = torch.randn(*IDS.shape, 32, dtype=torch.float64)
    model.double()
    plain.double()
    found = []
    for runs, owner in ((model, adapter), (plain, plain)):
        torch.manual_seed(3)
        out = runs(input_ids=IDS).last_hidden_state
        trained = [p for p in owner.parameters() if p.requires_grad]
        found.append([out, *torch.autograd.grad((out * weight).sum(), trained)])
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SAME)
def test_equals_plain_peft(any_model: PreTrainedModel, name: str) -> None:
    same(any_model, *beside(any_model, *SAME[name]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_on_a_base_of_any_dtype_equals_peft_s(dtype: torch.dtype, bias: bool) -> None:
    config = Qwen3Config(**SIZES, head_dim=8, attention_bias=bias)
    model = AutoModel.from_config(config).to(dtype)
    Lora(targets=["q_proj"], rank=3).build(model)
    layer = model.layers[1].self_attn.q_proj
    trained = [layer.lora_A["default"].weight, layer.lora_B["default"].weight]
    for weight in trained:
        assert weight.dtype == torch.float32
        torch.nn.init.normal_(weight)
    torch.nn.init.normal_(layer.base_layer.weight)
    if bias:
        torch.nn.init.normal_(layer.base_layer.bias)
    x = torch.randn(2, 5, 32).to(dtype).requires_grad_()
    scale = torch.randn(2, 5, 4 * 8)
    runs = layer.forward, functools.partial(type(layer).forward, layer)
    assert runs[0] != runs[1]
    outs = [run(x) for run in runs]
    got, want = (
        [out, *torch.autograd.grad((out.float() * scale).sum(), [x, *trained])] for out in outs
    )
    bound = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    for one, other in zip(got, want, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(
            one, other, rtol=bound, atol=bound * float(other.detach().abs().max())
        )


def test_its_gradients_are_those_of_its_values() -> None:
    sizes = [(5, 4), (3, 4), (3,), (2, 4), (3, 2)]
    given = [torch.randn(size, dtype=torch.float64) for size in sizes]
    for index in (0, 3, 4):
        given[index].requires_grad_()
    assert torch.autograd.gradcheck(lambda *args: _LoraLinear.apply(*args, 0.7), given)
    given[0].requires_grad_(False)  # as in the first layer
    assert torch.autograd.gradcheck(lambda *args: _LoraLinear.apply(*args, 0.7), given)


@pytest.mark.parametrize("dora", [False, True])
def test_in_training_it_equals_plain_peft_in_training(dora: bool) -> None:
    # A base without dropout of its own, which plain PEFT's would act with.
    model = AutoModel.from_config(copy.deepcopy(CONFIGS["decoder"])).eval()
    ours = {"rank": 3, "dropout": 0.5, "dora": dora}
    theirs = {"r": 3, "lora_alpha": 6, "lora_dropout": 0.5, "use_dora": dora}
    adapter, plain = beside(model, ours, theirs)
    adapter.train()
    plain.train()
    same(model, adapter, plain)


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


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        (MPNetConfig(num_hidden_layers=2, **SMALL), ["attn.q", "attn.v"]),
        (AlbertConfig(num_hidden_layers=2, embedding_size=16, **SMALL),
         ["attention.query", "attention.value"]),
    ],
)  # fmt: skip
def test_auto_finds_query_and_value_where_peft_lists_none(
    config: PretrainedConfig, layers: list[str]
) -> None:
    made = AutoModel.from_config(config)
    Lora(rank=2).build(made)
    adapted = linear_layers(made)
    assert {name.rsplit(".", 2)[-2] + "." + name.rsplit(".", 1)[-1] for name in adapted} == {
        *layers
    }


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


@pytest.mark.parametrize("dora", [False, True])
def test_dropout_acts_in_training_only(model: PreTrainedModel, dora: bool) -> None:
    adapter = Lora(targets="all-linear", dropout=0.5, dora=dora).build(model)
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
    names = LINEAR[model.config.model_type]
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
