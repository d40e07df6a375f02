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
from components.base.packing import SHORTEST, STEPS, Packing, padded_length
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
    return Base(model, None, 32)  # type: ignore[arg-type]  # nothing is tokenised here


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
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


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


@pytest.mark.parametrize("most", [None, 100, 128])
def test_padded_lengths_waste_little_and_never_cut(most: int | None) -> None:
    for length in range(1, (most or 600) + 1):
        padded = padded_length(length, most)
        assert length <= padded <= max(most or 1000, length)
        assert padded <= max(SHORTEST, 1.25 * length)
        assert padded_length(padded, most) == padded
    ladder = {padded_length(length) for length in range(65, 129)}
    assert len(ladder) == STEPS


@torch.no_grad()
def test_every_token_is_in_one_chunk(tokens: Tokens) -> None:
    packing = Packing.of(tokens)
    assert sorted(packing.place_T.tolist()) == list(range(len(tokens.ids_T)))
    assert sum(chunk.rows for chunk in packing.chunks) == len(tokens)
