"""A PEFT adapter folder is its base with the adapter merged, or is refused in one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptTuningConfig,
    get_peft_model,
)
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, Qwen3Config

from components.base import Base, BaseConfig, load, load_skeleton
from components.base.locate import BUILTIN
from components.ragged import Tokens
from search.features import weights_digest
from search.runtime.store import Store

SENTENCES = ["The river is high.", "Der Fluss", "a"]


def make_base(folder: Path, kind: Any = AutoModel, **changes: Any) -> Path:
    """Save a random decoder of two layers, with the tokenizer of the built-in base."""
    tokenizer = AutoTokenizer.from_pretrained(BUILTIN["builtin:tiny"])
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 64,
    }
    torch.manual_seed(0)
    kind.from_config(Qwen3Config(**(settings | changes))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def adapt(
    base: Path, folder: Path, config: PeftConfig, kind: Any = AutoModel, seed: int = 1
) -> Any:
    """Save an adapter with random weights, named by the path from its folder; return the model."""
    model = get_peft_model(kind.from_pretrained(base), config)
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5 if "lora" in name else 0.1)
    model.save_pretrained(folder)
    edit(folder, base_model_name_or_path=f"../{base.name}")
    return model.eval()


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def states(base: Base, sentence: str) -> torch.Tensor:
    """Last hidden states of one sentence, (T, D)."""
    ids = torch.tensor(base.tokenize([sentence])[0])
    with torch.no_grad():
        return base(Tokens(ids, torch.tensor([0, len(ids)]))).values_TD


def lora(**changes: Any) -> LoraConfig:
    settings = {"r": 3, "lora_alpha": 7, "target_modules": ["q_proj", "v_proj", "down_proj"]}
    return LoraConfig(**(settings | changes))


def refuse(folder: Path, words: str, **settings: Any) -> None:
    for loading in (load_skeleton, load):
        with pytest.raises(ValueError, match=words) as caught:
            loading(BaseConfig(model=str(folder), **settings))
        assert "\n" not in str(caught.value)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base(tmp_path / "base")


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (lora(), AutoModel),
        (lora(use_dora=True, use_rslora=True), AutoModel),
        (lora(modules_to_save=["norm"], bias="all"), AutoModel),
        (lora(task_type="FEATURE_EXTRACTION", target_modules="all-linear"), AutoModel),
        (lora(task_type="CAUSAL_LM", rank_pattern={"model.layers.1.self_attn.q_proj": 2}), None),
        (lora(task_type="CAUSAL_LM", alpha_pattern={"model.layers.1.self_attn.q_proj": 2}), None),
        (lora(task_type="CAUSAL_LM", layers_to_transform=[1]), None),
        (lora(init_lora_weights="pissa"), AutoModel),
        (IA3Config(target_modules=["k_proj"], feedforward_modules=[]), AutoModel),
    ],
)
def test_states_are_those_of_peft_without_a_merge(
    base: Path, tmp_path: Path, config: PeftConfig, kind: Any
) -> None:
    if kind is None:
        base, kind = make_base(tmp_path / "whole", AutoModelForCausalLM), AutoModelForCausalLM
    adapt(base, tmp_path / "adapter", config, kind)
    config_of_base = BaseConfig(model=str(tmp_path / "adapter"))
    skeleton, merged = load_skeleton(config_of_base), load(config_of_base)
    named = (
        f"is {base.resolve()} with the {config.peft_type.value} adapter of {tmp_path / 'adapter'}"
    )
    assert all(named in made.notes[0] for made in (skeleton, merged))
    shapes = {name: p.shape for name, p in skeleton.model.state_dict().items()}
    assert shapes == {name: p.shape for name, p in merged.model.state_dict().items()}
    assert type(merged.model) is type(AutoModel.from_pretrained(base))
    unmerged = PeftModel.from_pretrained(kind.from_pretrained(base), tmp_path / "adapter").eval()
    plain = AutoModel.from_pretrained(base)
    moved = []
    for sentence in SENTENCES:
        ids = torch.tensor(merged.tokenize([sentence]))
        with torch.no_grad():
            want = unmerged(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
            without = plain(input_ids=ids).last_hidden_state[0]
        torch.testing.assert_close(states(merged, sentence), want, atol=1e-5, rtol=1e-5)
        moved.append((want - without).abs().max())
    assert max(moved) > 1e-2
    merged.model.save_pretrained(tmp_path / "saved")
    saved = AutoModel.from_pretrained(tmp_path / "saved").state_dict()
    torch.testing.assert_close(saved, dict(merged.model.state_dict()))
    assert not (tmp_path / "saved" / "adapter_config.json").exists()


def test_an_adapter_inside_a_sentence_transformers_folder(base: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(str(base), device="cpu")
    model.add_adapter(lora(task_type="FEATURE_EXTRACTION", init_lora_weights=False))
    model.prompts, model.default_prompt_name = {"query": "query: "}, "query"
    model.save(str(tmp_path / "sentence"))
    edit(tmp_path / "sentence", base_model_name_or_path="../base")
    made = load(BaseConfig(model=str(tmp_path / "sentence")))
    assert made.shipped.default_prompt == "query: "
    ids = torch.tensor(made.tokenize(SENTENCES[:1]))
    with torch.no_grad():
        want = model[0].auto_model(input_ids=ids).last_hidden_state[0]
    torch.testing.assert_close(states(made, SENTENCES[0]), want, atol=1e-5, rtol=1e-5)


def test_the_base_is_found_beside_the_adapter_then_in_the_working_directory(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = tmp_path / "deep" / "adapter"
    adapt(base, adapter, lora())
    refuse(adapter, r"of '\.\./base', which is not there \(neither .* exists\); name its folder")
    edit(adapter, base_model_name_or_path="base")
    monkeypatch.chdir(tmp_path)
    assert load_skeleton(BaseConfig(model=str(adapter))).depth == 2
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    edit(adapter, base_model_name_or_path="nobody/base")
    refuse(adapter, r"is a PEFT adapter of 'nobody/base' \(on the hub, as neither .* exists\)")
    edit(adapter, base_model_name_or_path=None)
    refuse(adapter, "names no base")
    edit(adapter, base_model_name_or_path=".")
    refuse(adapter, "names itself as its base")
    adapt(base, tmp_path / "other", lora())
    edit(adapter, base_model_name_or_path="../../other")
    refuse(adapter, "another adapter, as its base")


def test_files_of_both_are_checked(base: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapt(base, adapter, lora())
    file = adapter / "adapter_model.safetensors"
    whole = file.read_bytes()
    weights = load_file(file)
    name = next(iter(weights))
    file.write_bytes(whole[:-8])
    refuse(adapter, "cut short")
    save_file({n: t for n, t in weights.items() if n != name}, file)
    refuse(adapter, f"lacks '{name}'")
    save_file(weights | {name.replace("layers.0", "layers.7"): weights[name].clone()}, file)
    refuse(adapter, "has no place for its '.*layers.7")
    save_file(weights | {name: weights[name][:, 1:].contiguous()}, file)
    refuse(adapter, f"'{name}' is 3 x 23, but must be 3 x 24")
    file.unlink()
    refuse(adapter, "has no weights")
    torch.save(weights, adapter / "adapter_model.bin")
    refuse(adapter, "a pickle")
    assert load(BaseConfig(model=str(adapter), allow_pickle=True)).depth == 2
    (adapter / "adapter_model.bin").unlink()
    file.write_bytes(whole)
    broken = base / "model.safetensors"
    broken.write_bytes(broken.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"adapter of '.*base' .*: .*cut short"):
        load_skeleton(BaseConfig(model=str(adapter)))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=2), "adds tokens"),
        (PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=2), "adds tokens"),
    ],
)
def test_adapters_that_change_no_weights_are_refused(
    base: Path, tmp_path: Path, config: PeftConfig, words: str
) -> None:
    adapt(base, tmp_path / "adapter", config)
    refuse(tmp_path / "adapter", words)


def test_heads_and_unknown_settings_are_refused(base: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapt(base, adapter, lora())
    edit(adapter, task_type="SEQ_CLS")
    refuse(adapter, "trained for SEQ_CLS")
    edit(adapter, task_type=None, of_the_future=True)
    refuse(adapter, "does not know 'of_the_future'")
    (adapter / "adapter_config.json").write_text("{}")
    refuse(adapter, "must hold a peft_type")
    whole = make_base(tmp_path / "whole", AutoModelForCausalLM)
    config = lora(task_type="CAUSAL_LM", modules_to_save=["lm_head"])
    adapt(whole, tmp_path / "head", config, AutoModelForCausalLM)
    refuse(tmp_path / "head", "a part of the head")


def test_a_quantised_base_is_refused(base: Path, tmp_path: Path) -> None:
    adapt(base, tmp_path / "adapter", lora())
    file = base / "config.json"
    quantised = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    file.write_text(json.dumps(json.loads(file.read_text()) | quantised))
    refuse(tmp_path / "adapter", "its base is quantised")


def test_the_tokenizer_is_the_adapters_own_if_it_has_one(base: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapt(base, adapter, lora())
    own = AutoTokenizer.from_pretrained(base)
    size = len(own)
    assert len(load_skeleton(BaseConfig(model=str(adapter))).tokenizer) == size
    own.add_tokens(["<one>", "<two>"])
    own.save_pretrained(adapter)
    refuse(adapter, f"tokenizer has {size + 2:,} tokens, but its embedding has {size:,} rows")


def test_adapters_on_one_base_share_no_stored_states(base: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store", 1e9)
    digests = [weights_digest(BaseConfig(model=str(base)), store)]
    for seed in (1, 2):
        adapt(base, tmp_path / str(seed), lora(), seed=seed)
        digests.append(weights_digest(BaseConfig(model=str(tmp_path / str(seed))), store))
    shutil.copytree(tmp_path / "2", tmp_path / "scaled")
    edit(tmp_path / "scaled", lora_alpha=8)
    digests.append(weights_digest(BaseConfig(model=str(tmp_path / "scaled")), store))
    make_base(tmp_path / "base", rms_norm_eps=1e-6, hidden_size=32)
    digests.append(weights_digest(BaseConfig(model=str(tmp_path / "2")), store))
    assert len(set(digests)) == 5
