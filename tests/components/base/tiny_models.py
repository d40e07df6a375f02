"""Tiny random models of many architectures, and folders of them with a tokenizer."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AlbertConfig,
    AutoModel,
    BertConfig,
    BioGptConfig,
    BloomConfig,
    CamembertConfig,
    CLIPConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    Gemma3Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    LongformerConfig,
    MistralConfig,
    ModernBertConfig,
    MPNetConfig,
    MT5Config,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen3Config,
    RobertaConfig,
    T5Config,
    XLMRobertaConfig,
)

ROWS = 264  # of the embedding: special tokens and a token for each byte
POSITIONS = 64
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # in RoBERTa's order
SIZES: dict[str, Any] = {
    "vocab_size": ROWS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": POSITIONS,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
GPT = {"vocab_size": ROWS, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": POSITIONS}
T5 = {"vocab_size": ROWS, "d_model": 32, "d_ff": 48, "num_layers": 3, "num_heads": 4, "d_kv": 8}
GROUPED = SIZES | {"num_key_value_heads": 2}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
LEARNED: dict[str, tuple[PreTrainedConfig, int]] = {
    # With a table of positions, and the tokens that it holds.
    "albert": (AlbertConfig(**SIZES, embedding_size=16), 64),
    "bert": (BertConfig(**SIZES), 64),
    "biogpt": (BioGptConfig(**SIZES), 64),
    "camembert": (CamembertConfig(**SIZES), 62),
    "deberta-absolute": (DebertaV2Config(**SIZES), 64),
    "distilbert": (
        DistilBertConfig(
            vocab_size=ROWS,
            dim=32,
            hidden_dim=48,
            n_layers=3,
            n_heads=4,
            max_position_embeddings=64,
        ),
        64,
    ),
    "electra": (ElectraConfig(**SIZES, embedding_size=16), 64),
    "gpt2": (GPT2Config(**GPT, bos_token_id=0, eos_token_id=2), 64),
    "longformer": (LongformerConfig(**SIZES, attention_window=8), 62),
    "mpnet": (MPNetConfig(**SIZES), 62),
    "opt": (OPTConfig(**SIZES, ffn_dim=48, word_embed_proj_dim=32), 64),
    "roberta": (RobertaConfig(**SIZES), 62),
    "xlm-roberta": (XLMRobertaConfig(**SIZES), 62),
}
MADE_FOR: dict[str, PreTrainedConfig] = {
    # With rotary or relative positions: made for 64 tokens, but they run longer.
    "deberta": DebertaV2Config(
        **SIZES,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        position_buckets=8,
    ),
    "gemma3": Gemma3TextConfig(**GROUPED, head_dim=8),
    "gpt-neox": GPTNeoXConfig(**SIZES),
    "llama": LlamaConfig(**GROUPED),
    "mistral": MistralConfig(**GROUPED),
    "modernbert": ModernBertConfig(
        **SIZES, cls_token_id=0, sep_token_id=2, global_attn_every_n_layers=2, local_attention=8
    ),
    "qwen3": Qwen3Config(**GROUPED, head_dim=8),
}
UNLIMITED: dict[str, PreTrainedConfig] = {
    "bloom": BloomConfig(vocab_size=ROWS, hidden_size=32, n_layer=3, n_head=4, pad_token_id=1),
    "mt5": MT5Config(**T5),
    "t5": T5Config(**T5),
}
WITH_IMAGES: dict[str, PreTrainedConfig] = {
    "clip": CLIPConfig(
        text_config=SIZES, vision_config=VISION, projection_dim=16
    ),
    "gemma3-images": Gemma3Config(
        text_config=GROUPED | {"head_dim": 8}, vision_config=VISION, mm_tokens_per_image=4
    ),
    "qwen2-vl": Qwen2VLConfig(
        text_config=GROUPED | {"rope_parameters": {
            "rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}},
        vision_config={"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2,
                       "patch_size": 8},
    ),
}  # fmt: skip
CONFIGS: dict[str, PreTrainedConfig] = (
    {name: config for name, (config, _) in LEARNED.items()} | MADE_FOR | UNLIMITED | WITH_IMAGES
)


def random_model(config: PreTrainedConfig) -> PreTrainedModel:
    """A model with random weights, the whole of it where it holds more than text."""
    torch.manual_seed(0)
    config = copy.deepcopy(config)
    if config.is_encoder_decoder:
        name = type(config).__name__.replace("Config", "EncoderModel")
        model: PreTrainedModel = getattr(transformers, name)(config)
    else:
        model = AutoModel.from_config(config)
    return model.eval()


def byte_tokenizer(**special: str | None) -> PreTrainedTokenizerFast:
    """A tokenizer with a token for each byte, behind the special ones.

    Args:
        special: roles of special tokens (``pad_token``), in place of all that there are.
    """
    pieces = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({piece: n for n, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    roles = special or {
        "pad_token": "<pad>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    if roles.get("eos_token"):
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)


def write_folder(folder: Path, config: PreTrainedConfig) -> PreTrainedModel:
    """Write a model folder, and give the model that is in it."""
    model = random_model(config)
    model.save_pretrained(folder)
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    return model
