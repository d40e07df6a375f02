"""The base as a whole: tokeniser, states and what must stay as it is."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerFast

from components.base import Base, BaseConfig, load
from components.ragged import Tokens
from tests.components.conftest import CONFIGS

SENTENCES = ["a", "b c d e f g h i j", "c c", "j i h g f e d c b a j i", "d"]


@pytest.fixture
def saved(model: PreTrainedModel, tmp_path: Path) -> Path:
    """A random model and a word-level tokenizer with BERT's special tokens, in a folder."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghij"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]",
        cls_token="[CLS]", sep_token="[SEP]", padding_side="left",
    )  # fmt: skip
    model.save_pretrained(tmp_path)
    fast.save_pretrained(tmp_path)
    return tmp_path


def test_a_saved_model_gives_the_states_of_each_sentence_alone(
    saved: Path, model: PreTrainedModel
) -> None:
    base = load(BaseConfig(model=str(saved), max_length=16))
    assert base.position_offset == 0, "it runs packed"
    assert base.width == 32
    ids = base.tokenize(SENTENCES)
    states = base(Tokens.of(ids))
    assert len(states) == len(SENTENCES)
    with torch.no_grad():
        alone = [model(input_ids=torch.tensor([i])).last_hidden_state[0] for i in ids]
    torch.testing.assert_close(states.values_TD, torch.cat(alone), rtol=0, atol=1e-5)


def test_tokenising_cuts_and_keeps_the_special_tokens(saved: Path) -> None:
    base = load(BaseConfig(model=str(saved), max_length=5))
    assert base.tokenize(["a b", "a b c", "a b c d e f", "zzz", ""]) == [
        [2, 4, 5, 3],
        [2, 4, 5, 6, 3],
        [2, 4, 5, 6, 3],  # cut before the end marker, which stays
        [2, 1, 3],
        [2, 3],
    ]
    assert base.tokenize([]) == []


@torch.no_grad()
def test_one_sentence_of_one_token(model: PreTrainedModel) -> None:
    base = Base(model, None, 16)  # nothing is tokenised here
    tokens = Tokens.of([[9]])
    expected = model(input_ids=torch.tensor([[9]])).last_hidden_state[0]
    for _ in range(2):
        torch.testing.assert_close(base(tokens).values_TD, expected, rtol=0, atol=1e-6)
        assert base.pack()


def test_it_is_frozen_and_its_dropout_is_off(tokens: Tokens) -> None:
    for settings in CONFIGS.values():
        model = AutoModel.from_config(copy.deepcopy(settings)).train()
        base = Base(model, None, 32)
        assert not any(p.requires_grad for p in model.parameters())
        assert not any(module.training for module in model.modules())
        assert torch.equal(base(tokens).values_TD, base(tokens).values_TD)
        assert not base(tokens).values_TD.requires_grad


def test_calls_change_neither_tokens_nor_weights(model: PreTrainedModel, tokens: Tokens) -> None:
    base = Base(model, None, 32)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    ids, offsets = tokens.ids_T.clone(), tokens.offsets.clone()
    for _ in range(2):
        base(tokens)
        assert base.pack()
    assert torch.equal(tokens.ids_T, ids)
    assert torch.equal(tokens.offsets, offsets)
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


@torch.no_grad()
@pytest.mark.parametrize("packed", [False, True])
def test_states_follow_the_order_of_the_sentences(
    model: PreTrainedModel, tokens: Tokens, packed: bool
) -> None:
    base = Base(model, None, 32)
    assert not packed or base.pack()
    ends = tokens.offsets.tolist()
    sentences = [tokens.ids_T[a:b].tolist() for a, b in zip(ends[:-1], ends[1:], strict=True)]
    parts = base(tokens).values_TD.split(tokens.lengths_B.tolist())
    order = torch.randperm(len(sentences)).tolist()
    shuffled = base(Tokens.of([sentences[i] for i in order])).values_TD
    torch.testing.assert_close(shuffled, torch.cat([parts[i] for i in order]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_runs_packed_near_the_float32_states(
    model: PreTrainedModel, tokens: Tokens, dtype: torch.dtype
) -> None:
    base = Base(model, None, 32)
    expected = base(tokens).values_TD
    model.to(dtype)
    assert base.pack()
    states = base(tokens).values_TD
    assert states.dtype == dtype
    torch.testing.assert_close(states.float(), expected, rtol=0, atol=0.1)
