"""LoRA of each family against plain PEFT that holds one family's weights."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModel, GPT2Config, PreTrainedModel

from components.adapter.family_lora import FamilyLora, FamilyLoraAdapter
from components.base.model import Base
from components.base.routing import routed
from components.interface import Adapter
from components.ragged import Tokens
from tests.components.conftest import CONFIGS

FAMILIES = ("cjk", "indic", "korean")
NONE = len(FAMILIES)
FAMILY = torch.tensor([0, 2, 1, NONE, 0, 1, 2, NONE, 0])
TARGETS = {"qwen3": ["q_proj", "up_proj"], "bert": ["query", "dense"], "gpt2": ["c_attn"]}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "shared": {"shared": True},
    "rslora": {"rslora": True, "alpha": 5.0, "last_layers": 2},
    "shared and rslora": {"shared": True, "rslora": True, "alpha": 5.0, "last_layers": 2},
}


@pytest.fixture(params=[*CONFIGS, "conv1d"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A decoder, an encoder, and GPT-2, whose linear layers hold their weights transposed.

    In float64, where another order of sums cannot be taken for another sum.
    """
    gpt2 = GPT2Config(n_layer=3, n_embd=32, n_head=4, vocab_size=120, n_positions=64)
    made = AutoModel.from_config(copy.deepcopy(CONFIGS.get(request.param, gpt2)))
    return made.eval().requires_grad_(False).double()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():  # PEFT tells that it transposes GPT-2's weights
        warnings.filterwarnings("ignore", message="fan_in_fan_out")
        warnings.filterwarnings("ignore", category=FutureWarning)
        yield


def build(model: PreTrainedModel, families: Sequence[str] = FAMILIES, **options: Any) -> Adapter:
    """The adapter, away from its start, where it changes nothing."""
    settings: dict[str, Any] = {"targets": TARGETS[model.config.model_type], "rank": 3}
    adapter = FamilyLora(**settings | options).build(model, families)
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, std=0.1)
    return adapter


def base_of(model: PreTrainedModel, packed: bool) -> Base:
    base = Base(model, None, 32)  # nothing is tokenised here
    assert not packed or base.pack()
    return base


def sets_of(family: int, shared: bool) -> list[str]:
    """Names of the low-rank weights that a sentence is to have, in the adapter."""
    own = [f"family-{FAMILIES[family]}"] if family < NONE else []
    return ["shared"] * shared + own


def plain(
    untouched: PreTrainedModel, adapter: Adapter, sets: list[str], options: dict[str, Any]
) -> nn.Module:
    """A copy of the base in which PEFT itself runs some of the adapter's sets, added up."""
    made: nn.Module = copy.deepcopy(untouched)
    if not sets:
        return made
    rank = options.get("rank", 3)
    layers = "012"[-options.get("last_layers", 3) :]
    names = "|".join(TARGETS[untouched.config.model_type])
    settings = LoraConfig(
        r=rank,
        lora_alpha=options.get("alpha", 2 * rank),
        use_rslora=options.get("rslora", False),
        target_modules=rf"(.*\.)?[{layers}]\..*\b({names})",
    )
    peft = get_peft_model(made, settings, adapter_name=sets[0])
    for name in sets[1:]:
        peft.add_adapter(name, settings)
    peft.base_model.set_adapter(sets)
    weights = {name.replace("/", "."): p for name, p in adapter.named_parameters()}
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_" in name:
                parameter.copy_(weights[name])
    adapted: nn.Module = peft
    return adapted


def alone(model: nn.Module, tokens: Tokens, which: Sequence[int]) -> list[Tensor]:
    """States of some of the sentences, each run by itself."""
    parts = tokens.ids_T.split(tokens.lengths_B.tolist())
    return [model(input_ids=parts[b][None]).last_hidden_state[0] for b in which]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", OPTIONS)
def test_each_sentence_of_a_mixed_batch_is_as_alone_in_its_family_s_peft(
    model: PreTrainedModel, tokens: Tokens, name: str, packed: bool
) -> None:
    options = OPTIONS[name]
    shared = options.get("shared", False)
    untouched = copy.deepcopy(model)
    base = base_of(model, packed)
    adapter = build(model, **options)
    weight_TD = torch.randn(len(tokens.ids_T), 32, dtype=torch.float64)
    got = base(tokens, FAMILY).values_TD
    (got * weight_TD).sum().backward()

    expected: list[Tensor] = [torch.empty(0)] * len(tokens)
    gradients: dict[str, Tensor] = {}
    weights = weight_TD.split(tokens.lengths_B.tolist())
    for family in range(NONE + 1):
        which = torch.eq(FAMILY, family).nonzero().squeeze(1).tolist()
        reference = plain(untouched, adapter, sets_of(family, shared), options)
        for b, states in zip(which, alone(reference, tokens, which), strict=True):
            expected[b] = states.detach()
            if states.requires_grad:
                (states * weights[b]).sum().backward()
        for key, parameter in reference.named_parameters():
            if "lora_" in key:  # what is shared learns from the sentences of all families
                assert parameter.grad is not None
                before = gradients.get(key, torch.zeros_like(parameter.grad))
                gradients[key] = before + parameter.grad
    torch.testing.assert_close(got, torch.cat(expected), rtol=0, atol=1e-10)
    mine = {key.replace("/", "."): parameter.grad for key, parameter in adapter.named_parameters()}
    assert mine.keys() == gradients.keys()
    for key, gradient in gradients.items():
        assert gradient.any(), key
        torch.testing.assert_close(mine[key], gradient, rtol=0, atol=1e-10)


@pytest.mark.parametrize("packed", [True, False])
def test_a_sentence_of_no_family_is_the_base_s_own_bit_for_bit(
    model: PreTrainedModel, tokens: Tokens, packed: bool
) -> None:
    base = base_of(model, packed)
    before = base(tokens).values_TD.split(tokens.lengths_B.tolist())
    build(model, dropout=0.5).train()
    after = base(tokens, FAMILY).values_TD.split(tokens.lengths_B.tolist())
    for family, one, two in zip(FAMILY.tolist(), before, after, strict=True):
        assert torch.equal(one, two) == (family == NONE)


@pytest.mark.parametrize("present", [[0], [NONE], [1, NONE]])
@pytest.mark.parametrize(("shared", "packed"), [(False, False), (False, True), (True, True)])
def test_an_absent_family_has_a_gradient_of_zero(
    model: PreTrainedModel, tokens: Tokens, present: list[int], shared: bool, packed: bool
) -> None:
    base = base_of(model, packed)
    adapter = build(model, shared=shared)
    family_B = torch.tensor(present)[torch.arange(len(tokens)) % len(present)]
    states_TD = base(tokens, family_B).values_TD
    (states_TD * torch.randn_like(states_TD)).sum().backward()
    there = {name for family in present for name in sets_of(family, shared)}
    for name, parameter in adapter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any() == any(f"/{one}/" in name for one in there), name


@torch.no_grad()
@pytest.mark.parametrize("packed", [True, False])
def test_order_and_company_of_the_sentences_do_not_matter(
    model: PreTrainedModel, tokens: Tokens, packed: bool
) -> None:
    build(model, shared=True)
    base = base_of(model, packed)
    whole = base(tokens, FAMILY).values_TD.split(tokens.lengths_B.tolist())
    ids = [part.tolist() for part in tokens.ids_T.split(tokens.lengths_B.tolist())]
    order = torch.randperm(len(ids))
    shuffled = base(Tokens.of([ids[b] for b in order]), FAMILY[order]).values_TD
    torch.testing.assert_close(shuffled, torch.cat([whole[b] for b in order]), rtol=0, atol=1e-10)
    for b, sentence in enumerate(ids):
        single = base(Tokens.of([sentence]), FAMILY[b : b + 1]).values_TD
        torch.testing.assert_close(single, whole[b], rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("shared", [False, True])
def test_dropout_acts_in_training_only(
    model: PreTrainedModel, tokens: Tokens, shared: bool
) -> None:
    torch.manual_seed(1)
    adapter = build(copy.deepcopy(model), shared=shared)
    still = {name: parameter.clone() for name, parameter in adapter.named_parameters()}
    base = base_of(model, packed=True)
    adapter = build(model, shared=shared, dropout=0.5).eval()
    for name, parameter in adapter.named_parameters():
        parameter.copy_(still[name])
    # With one family's weights at a time, each set is seen to have a dropout of its own.
    for name in dict.fromkeys(name.split("/")[-2] for name in still):
        for key, parameter in adapter.named_parameters():
            parameter.copy_(still[key] * (f"/{name}/" in key))
        adapter.eval()
        expected = base(tokens, FAMILY).values_TD
        assert torch.equal(base(tokens, FAMILY).values_TD, expected)
        adapter.train()
        one, two = (base(tokens, FAMILY).values_TD for _ in range(2))
        assert not torch.equal(one, two), name
        assert not model.training, "the base's own dropout stays off"


@torch.no_grad()
@pytest.mark.parametrize("name", OPTIONS)
def test_each_folder_is_a_plain_peft_adapter_of_its_family(
    model: PreTrainedModel, tokens: Tokens, tmp_path: Path, name: str
) -> None:
    options = OPTIONS[name]
    shared = options.get("shared", False)
    untouched = copy.deepcopy(model)
    adapter = build(model, **options)
    adapter.folders(tmp_path / "adapters")
    folders = {path.name: path for path in (tmp_path / "adapters").iterdir()}
    assert set(folders) == {*FAMILIES, *["shared"] * shared}
    routed = base_of(model, packed=True)(tokens, FAMILY).values_TD
    parts = routed.split(tokens.lengths_B.tolist())
    for folder, path in folders.items():
        assert {file.name for file in path.iterdir()} == {
            "adapter_config.json",
            "adapter_model.safetensors",
        }
        loaded = PeftModel.from_pretrained(copy.deepcopy(untouched), str(path))
        family = NONE if folder == "shared" else FAMILIES.index(folder)
        rank = json.loads((path / "adapter_config.json").read_text())["r"]
        assert rank == (6 if shared and family < NONE else 3)
        which = torch.eq(FAMILY, family).nonzero().squeeze(1).tolist()
        assert len(which) > 1
        expected = torch.cat([parts[b] for b in which])
        found = torch.cat(alone(loaded, tokens, which))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


# PEFT keeps sets of weights by name in a ModuleDict, which has attributes, finds them again by
# parts of names, and has a meaning of its own for "default".
@torch.no_grad()
@pytest.mark.parametrize("shared", [False, True])
def test_a_family_may_have_any_name(tokens: Tokens, tmp_path: Path, shared: bool) -> None:
    names = ["default", "type", "keys", "weight", "a", "lora_a", "lat", "latin", "both", "family"]
    model = AutoModel.from_config(copy.deepcopy(CONFIGS["decoder"])).eval().double()
    untouched = copy.deepcopy(model)
    adapter = build(model, names, shared=shared, last_layers=1)
    adapter.folders(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} - {"shared"} == set(names)
    base = base_of(model, packed=True)
    sentence = Tokens.of([tokens.ids_T[: tokens.offsets[1]].tolist()])
    for index, name in enumerate(names):
        expected = base(sentence, torch.tensor([index])).values_TD
        loaded = PeftModel.from_pretrained(copy.deepcopy(untouched), str(tmp_path / name))
        (found,) = alone(loaded, sentence, [0])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_a_family_is_not_called_what_the_shared_weights_are(model: PreTrainedModel) -> None:
    kinds = [type(module) for module in model.modules()]
    with pytest.raises(
        ValueError, match=r"adapter\.shared is .* named 'shared'.*; it must be false"
    ) as caught:
        FamilyLora(shared=True).build(model, ["latin", "shared"])
    assert "\n" not in str(caught.value)
    assert [type(module) for module in model.modules()] == kinds
    FamilyLora().build(model, ["latin", "shared"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("end", ["merge", "remove"])
def test_merged_or_removed_it_leaves_the_old_base(
    model: PreTrainedModel, tmp_path: Path, dtype: torch.dtype, end: str
) -> None:
    model.to(dtype)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapter = build(model, shared=True)
    adapter.folders(tmp_path)
    getattr(adapter, end)()
    widened = torch.float32 if end == "merge" else dtype
    assert model.state_dict().keys() == before.keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name].to(widened)), name
        assert value.dtype == widened, name


@torch.no_grad()
def test_a_folder_names_a_base_on_the_hub_but_no_path(tmp_path: Path) -> None:
    made = AutoModel.from_config(copy.deepcopy(CONFIGS["decoder"]))
    made.save_pretrained(tmp_path / "base")
    named: dict[str, set[str]] = {}
    for source in (str(tmp_path / "base"), "someone/something"):
        model = AutoModel.from_pretrained(tmp_path / "base")
        model.name_or_path = source
        out = tmp_path / source.replace("/", "-")
        build(model, shared=True).folders(out)
        for file in out.glob("*/adapter_config.json"):
            named.setdefault(source, set()).add(
                json.loads(file.read_text())["base_model_name_or_path"]
            )
    assert named == {str(tmp_path / "base"): {""}, "someone/something": {"someone/something"}}


def test_the_base_must_be_called_with_families(model: PreTrainedModel) -> None:
    build(model)
    with pytest.raises(LookupError):
        model(input_ids=torch.tensor([[7, 8, 9]]))


class Products(TorchDispatchMode):
    """Notes the dtypes of the factors of every matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if "mm" in func.overloadpacket.__name__:  # mm, addmm, bmm
            self.dtypes |= {arg.dtype for arg in args if isinstance(arg, Tensor)}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("shared", [False, True])
def test_on_a_base_in_bfloat16_products_are_too_and_weights_are_not(shared: bool) -> None:
    torch.manual_seed(0)
    settings = copy.deepcopy(CONFIGS["decoder"])
    half = AutoModel.from_config(settings).eval().requires_grad_(False).to(torch.bfloat16)
    x = torch.randn(12, 32)
    family = torch.tensor([0, 1, 2, NONE] * 3)
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        torch.manual_seed(1)
        adapter = build(copy.deepcopy(half).to(dtype), shared=shared)
        assert {parameter.dtype for parameter in adapter.parameters()} == {torch.float32}
        assert isinstance(adapter, FamilyLoraAdapter)
        layer = adapter.layers[0]
        inputs = x.to(dtype).requires_grad_()
        with Products() as seen, routed(family):
            out = layer(inputs)
            out.sum().backward()
        assert seen.dtypes == {dtype}
        weights = [p for n, p in adapter.named_parameters() if p.grad is not None]
        assert len(weights) == 2 * (len(FAMILIES) + shared)
        assert inputs.grad is not None
        found.append([out.detach(), inputs.grad, *(p.grad for p in weights if p.grad is not None)])
    assert [value.dtype for value in found[0][:2]] == [torch.bfloat16] * 2
    for value, exact in zip(*found, strict=True):
        close = 0.02 * float(exact.abs().max())
        torch.testing.assert_close(value.float(), exact, rtol=0, atol=close)
    assert all(value.dtype == torch.float32 for value in found[0][2:])
