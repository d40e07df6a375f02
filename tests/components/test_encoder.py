"""The assembled encoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from components.adapter.family_lora import FamilyLora
from components.adapter.lora import Lora
from components.adapter.none import NoAdapterConfig
from components.adapter.unfrozen import Unfrozen
from components.base.model import Base
from components.encoder import added_parameters, assemble, trainable_parameters
from components.head.identity import Identity
from components.head.linear import Linear, LinearHead
from components.head.mlp import Mlp
from components.pooling.attention import Attention, AttentionPooling
from components.pooling.mean import Mean
from components.ragged import Tokens


def base_of(model: PreTrainedModel) -> Base:
    return Base(model, None, 32)  # nothing is tokenised here


def test_unit_vectors_of_each_sentence_alone(model: PreTrainedModel, tokens: Tokens) -> None:
    encoder = assemble(base_of(model), NoAdapterConfig(), Mean(), Linear(width=8))
    assert isinstance(encoder.head, LinearHead)
    family_B = torch.zeros(len(tokens), dtype=torch.int64)
    got = encoder(tokens, family_B)
    ends = tokens.offsets.tolist()
    with torch.no_grad():
        want = []
        for a, b in zip(ends[:-1], ends[1:], strict=True):
            state = model(input_ids=tokens.ids_T[None, a:b]).last_hidden_state[0].mean(0)
            vector = encoder.head.linear(state)
            want.append(vector / vector.norm())
    torch.testing.assert_close(got, torch.stack(want), rtol=0, atol=1e-5)


def test_only_the_parts_train(model: PreTrainedModel, tokens: Tokens) -> None:
    encoder = assemble(base_of(model), Lora(rank=2), Attention(heads=2), Mlp(width=8, hidden=12))
    frozen = {name: p.clone() for name, p in model.named_parameters() if "lora" not in name}
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1.0)
    for _ in range(2):  # LoRA's A gets its first gradient once B has left zero
        optimizer.zero_grad()
        out = encoder(tokens, torch.zeros(len(tokens), dtype=torch.int64))
        (out * torch.randn_like(out)).sum().backward()
        optimizer.step()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    for name, parameter in model.named_parameters():
        if "lora" not in name:
            assert parameter.grad is None, name
            assert torch.equal(parameter, frozen[name]), name


def test_a_setting_that_does_not_fit_leaves_the_base_as_it_was(model: PreTrainedModel) -> None:
    kinds = [type(module) for module in model.modules()]
    with pytest.raises(ValueError, match=r"pooling\.heads is 5; it must divide"):
        assemble(base_of(model), Lora(rank=2), Attention(heads=5), Linear(width=8))
    assert [type(module) for module in model.modules()] == kinds


def test_exact_parameters_of_the_notes() -> None:
    with torch.device("meta"):
        counts = {
            "linear": trainable_parameters(Linear(width=768).build(4096)),
            "attention": trainable_parameters(Attention(heads=1).build(4096)),
            "mlp 2048": trainable_parameters(Mlp(width=768, hidden=2048).build(4096)),
            "mlp 4096": trainable_parameters(Mlp(width=768, hidden=4096).build(4096)),
        }
    assert counts == {
        "linear": 3_146_496,
        "attention": 4_096,
        "mlp 2048": 9_964_288,
        "mlp 4096": 19_927_808,
    }
    assert trainable_parameters(nn.Linear(2, 2).requires_grad_(False)) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_float32_unit_vectors_and_finite_gradients(
    model: PreTrainedModel, tokens: Tokens, dtype: torch.dtype
) -> None:
    model.to(dtype)
    encoder = assemble(base_of(model), Lora(rank=2), Attention(), Linear(width=8))
    out = encoder(tokens, torch.zeros(len(tokens), dtype=torch.int64))
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.norm(dim=1), torch.ones(len(tokens)), rtol=0, atol=1e-6)
    (out * torch.randn_like(out)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@torch.no_grad()
def test_order_and_company_of_the_sentences_do_not_matter(
    model: PreTrainedModel, tokens: Tokens
) -> None:
    encoder = assemble(base_of(model), NoAdapterConfig(), Attention(heads=2), Mlp(width=8))
    assert isinstance(encoder.pooling, AttentionPooling)
    torch.nn.init.normal_(encoder.pooling.query_HK)
    family_B = torch.arange(len(tokens)) % 6
    whole = encoder(tokens, family_B)
    parts = tokens.ids_T.split(tokens.lengths_B.tolist())
    order = torch.randperm(len(parts))
    shuffled = encoder(Tokens.of([parts[i].tolist() for i in order]), family_B[order])
    torch.testing.assert_close(shuffled, whole[order], rtol=0, atol=1e-5)
    for index, part in enumerate(parts):
        single = encoder(Tokens.of([part.tolist()]), family_B[index : index + 1])
        torch.testing.assert_close(single, whole[index : index + 1], rtol=0, atol=1e-5)


def test_a_seed_gives_the_same_encoder_and_close_gives_the_base_back(
    model: PreTrainedModel, tokens: Tokens
) -> None:
    base = base_of(model)
    before = base(tokens).values_TD
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        encoder = assemble(base, Lora(rank=2), Attention(), Mlp(width=8, hidden=4))
        drawn.append({name: p.detach().clone() for name, p in encoder.named_parameters()})
        for parameter in encoder.parameters():
            torch.nn.init.normal_(parameter)
        encoder.close()
        assert torch.equal(base(tokens).values_TD, before)
    assert drawn[0].keys() == drawn[1].keys()
    for name, value in drawn[0].items():
        assert torch.equal(value, drawn[1][name]), name


def test_what_is_added_to_the_base_is_what_cannot_be_merged(model: PreTrainedModel) -> None:
    before = sum(parameter.numel() for parameter in model.parameters())
    for adapter in (NoAdapterConfig(), Lora(rank=2), Unfrozen(last_layers=1)):
        encoder = assemble(base_of(model), adapter, Attention(heads=2), Mlp(width=8, hidden=12))
        encoder.adapter.merge()
        after = sum(parameter.numel() for parameter in model.parameters())
        parts = sum(
            p.numel() for part in (encoder.pooling, encoder.head) for p in part.parameters()
        )
        assert added_parameters(encoder, adapter) == parts + after - before
    families = ["latin", "cjk"]
    routed = FamilyLora(rank=2)
    encoder = assemble(base_of(model), routed, Mean(), Identity(), families)
    size = sum(parameter.numel() for parameter in encoder.adapter.parameters())
    assert added_parameters(encoder, routed) == size > 0
