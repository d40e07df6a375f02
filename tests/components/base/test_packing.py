"""The packed base against the model run one sentence at a time."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    BertConfig,
    Gemma3TextConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    MPNetConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    XLMRobertaConfig,
)

from components.adapter.family_lora import FamilyLora
from components.adapter.lora import Lora
from components.base.model import Base
from components.base.packing import MULTIPLE, Packing
from components.ragged import Tokens
from tests.components.conftest import SIZES

KEYS = {"num_key_value_heads": 2}
MODERN = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1,
          "eos_token_id": 2, "local_attention": 8, "global_attn_every_n_layers": 2}  # fmt: skip
PACKED: list[PretrainedConfig] = [
    Qwen3Config(**SIZES, **KEYS, head_dim=8),
    Qwen2Config(**SIZES, **KEYS),
    LlamaConfig(**SIZES, **KEYS),
    MistralConfig(**SIZES, **KEYS, sliding_window=6),
    Gemma3TextConfig(**SIZES, **KEYS, head_dim=8, sliding_window=6),
    BertConfig(**SIZES),
    XLMRobertaConfig(**SIZES),
    ModernBertConfig(**SIZES, **MODERN),
]


def alone(model: PreTrainedModel, tokens: Tokens) -> Tensor:
    """States of each sentence run by itself, with nothing to pad and nothing to pack."""
    ends = tokens.offsets.tolist()
    parts = [tokens.ids_T[None, a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]
    return torch.cat([model(input_ids=part).last_hidden_state[0] for part in parts])


def base_of(model: PreTrainedModel) -> Base:
    return Base(model, None, 32)  # nothing is tokenised here


@pytest.mark.parametrize("config", PACKED, ids=lambda config: config.model_type)
@torch.no_grad()
def test_packed_and_padded_equal_each_sentence_alone(
    config: PretrainedConfig, tokens: Tokens
) -> None:
    model = AutoModel.from_config(copy.deepcopy(config)).eval()
    expected = alone(model, tokens)
    base = base_of(model)
    torch.testing.assert_close(base(tokens).values_TD, expected, rtol=0, atol=1e-5)
    assert base.pack()
    assert model.config._attn_implementation == "packed"
    torch.testing.assert_close(base(tokens).values_TD, expected, rtol=0, atol=1e-5)


# MPNet's attention adds a bias that depends on the distance between tokens, in its own code;
# GPT-OSS hands its sinks to the attention function, where they would be lost.
PADDED: list[PretrainedConfig] = [
    MPNetConfig(**SIZES),
    GptOssConfig(**SIZES, **KEYS, head_dim=8, num_local_experts=2, num_experts_per_tok=1),
]


@pytest.mark.parametrize("config", PADDED, ids=lambda config: config.model_type)
@torch.no_grad()
def test_a_model_that_cannot_run_packed_stays_padded(
    config: PretrainedConfig, tokens: Tokens
) -> None:
    model = AutoModel.from_config(copy.deepcopy(config)).eval()
    expected = alone(model, tokens)
    base = base_of(model)
    before = model.config._attn_implementation
    assert not base.pack()
    assert model.config._attn_implementation == before
    torch.testing.assert_close(base(tokens).values_TD, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", PACKED, ids=lambda config: config.model_type)
def test_gradients_equal_those_of_padded_calls(config: PretrainedConfig, tokens: Tokens) -> None:
    model = AutoModel.from_config(copy.deepcopy(config)).eval()
    base = base_of(model)
    adapter = Lora(rank=2, targets="all-linear").build(model)
    for parameter in adapter.parameters():  # B starts at zero, where A gets no gradient
        torch.nn.init.normal_(parameter, std=0.1)
    weight_TD = torch.randn(len(tokens.ids_T), 32)

    def gradients() -> list[Tensor]:
        loss = (base(tokens).values_TD * weight_TD).sum()
        return list(torch.autograd.grad(loss, list(adapter.parameters())))

    padded = gradients()
    assert base.pack()
    for got, want in zip(gradients(), padded, strict=True):
        # Rounding errors of a sum are relative to its largest terms: some gradients are above 100.
        torch.testing.assert_close(
            got, want, rtol=1e-4, atol=1e-5 * max(10.0, float(want.abs().max()))
        )


@torch.no_grad()
def test_a_sentence_does_not_depend_on_its_batch(model: PreTrainedModel, tokens: Tokens) -> None:
    base = base_of(model)
    assert base.pack()
    ends = tokens.offsets.tolist()
    whole = base(tokens).values_TD
    for a, b in zip(ends[:-1], ends[1:], strict=True):
        single = base(Tokens(tokens.ids_T[a:b], torch.tensor([0, b - a]))).values_TD
        torch.testing.assert_close(single, whole[a:b], rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", PACKED, ids=lambda config: config.model_type)
@torch.no_grad()
def test_bit_for_bit_whatever_the_batch(config: PretrainedConfig) -> None:
    base = base_of(AutoModel.from_config(copy.deepcopy(config)).eval())
    assert base.pack()
    lengths = [1, 2, 3, 5, 8, 9, 13, 17, 20, 23, 31, 32]
    sentences = [torch.randint(5, 120, (n,)).tolist() for n in lengths * 3]
    whole = base(Tokens.of(sentences))
    ends = whole.offsets.tolist()
    for size in (1, 2, 5, 12, 30):
        for start in range(0, len(sentences), size):
            some = base(Tokens.of(sentences[start : start + size])).values_TD
            stop = min(start + size, len(sentences))
            assert torch.equal(some, whole.values_TD[ends[start] : ends[stop]])


@torch.no_grad()
def test_a_batch_of_few_tokens_keeps_its_families(model: PreTrainedModel) -> None:
    base = base_of(model)
    base.pack()
    adapter = FamilyLora(rank=2, targets="all-linear").build(model, ("cjk", "latin"))
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    few, many = [[7, 8], [9]], [[7, 8], [9], *[[5] * 20] * 3]
    family_B = torch.tensor([0, 1, 0, 1, 2])
    got = base(Tokens.of(few), family_B[:2])
    assert got.offsets.tolist() == [0, 2, 3]
    want = base(Tokens.of(many), family_B).values_TD[:3]
    torch.testing.assert_close(got.values_TD, want, rtol=0, atol=1e-6)


def test_sentences_lie_by_length_and_come_back_in_their_order(tokens: Tokens) -> None:
    ends = tokens.offsets.tolist()
    sentences = [tokens.ids_T[a:b].tolist() for a, b in zip(ends[:-1], ends[1:], strict=True)]
    by_length = [i for sentence in sorted(sentences, key=len) for i in sentence]
    packing = Packing.of(tokens)
    ids_P = packing.pack(tokens.ids_T)
    fillers = -len(by_length) % MULTIPLE
    assert ids_P.tolist() == by_length + [0] * fillers
    assert packing.runs == [(2, 1), (1, 2), (2, 4), (1, 7), (1, 9), (1, 15), (1, 23), (1, fillers)]
    places = [
        place for rows, length in packing.runs for _ in range(rows) for place in range(length)
    ]
    assert packing.position_P.tolist() == places
    assert packing.longest == 23
    assert packing.cu_seq.tolist() == [0, 1, 2, 4, 8, 12, 19, 28, 43, 66, 66 + fillers]
    assert torch.equal(packing.unpack(ids_P), tokens.ids_T)


def test_no_token_of_a_full_batch_is_a_filler() -> None:
    tokens = Tokens.of([[5] * (MULTIPLE - 3), [6] * 3])
    packing = Packing.of(tokens)
    assert packing.pack(tokens.ids_T).tolist() == [6] * 3 + [5] * (MULTIPLE - 3)
    assert packing.runs == [(1, 3), (1, MULTIPLE - 3)]


def test_gradients_come_back_to_the_tokens_they_are_of(tokens: Tokens) -> None:
    packing = Packing.of(tokens)
    size = int(packing.lengths.sum())
    values_PD = torch.randn(size, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(packing.unpack, values_PD)
    weight_TD = torch.randn(len(tokens.ids_T), 3, dtype=torch.float64)
    (grad_PD,) = torch.autograd.grad((packing.unpack(values_PD) * weight_TD).sum(), values_PD)
    assert torch.equal(packing.unpack(grad_PD), weight_TD)
    assert not grad_PD[len(tokens.ids_T) :].any()
