"""Every kind of component in an exported folder, loaded without this project."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing
from torch import nn
from transformers import (
    AutoModel,
    BertConfig,
    GPT2Config,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2MoeConfig,
)

import components
from components.base import Base, BaseConfig, load
from components.base.locate import BUILTIN
from components.config import Config, variants
from components.encoder import Encoder, assemble
from components.interface import AdapterConfig, HeadConfig, PoolingConfig
from components.languages import FamilyTable
from components.projection import WideHeadConfig
from components.ragged import States, Tokens
from search.export import CUSTOM_FILE, Routing, load_folder, trusted, write_model
from search.export.deployed import PackedPooling
from search.settings.trial import TrialConfig
from tests.components.conftest import SIZES

FAMILIES = ("cjk", "indic", "latin")
CJK, INDIC, LATIN, NONE = range(4)
LANGUAGES = {"ja": "cjk", "ko": "cjk", "gu": "indic", "en": "latin", "de": "latin"}
TEXTS = {
    "The house is small.": LATIN,
    "家は小さい。": CJK,
    "집이 작다.": CJK,
    "Дом маленький.": NONE,
    "ઘર નાનું છે.": INDIC,
    "2017-04-03, 17:45!": NONE,
    "घर 123": INDIC,
    "a": LATIN,
    "A sentence that is far too long to be read to its end, " * 3: LATIN,
    "EU 欧州連合": CJK,
    "Ein Haus, ein Garten.": LATIN,
}
MIXED = list(TEXTS)
UNTOLD = list(TEXTS.values())
# Texts, what is told of them, and the families they are to be treated as.
CALLS: list[tuple[list[str], str | None, list[int]]] = [
    (MIXED, None, UNTOLD),
    (MIXED[::-1], None, UNTOLD[::-1]),
    *(([text], None, [family]) for text, family in TEXTS.items()),
]
TOLD: list[tuple[list[str], str | None, list[int]]] = [
    (MIXED, "gu", [INDIC] * len(MIXED)),
    (MIXED[3:5], "latin", [LATIN] * 2),
    (MIXED, "query", UNTOLD),
    (MIXED, "ru", UNTOLD),  # a language that the run did not have
]

# What a user does, in a process that could not import this project if it tried.
USER = """
import sys
sys.modules["components"] = sys.modules["search"] = None
import json
import numpy as np
from sentence_transformers import SentenceTransformer

def encode(model, calls):
    vectors = []
    for texts, task in calls:
        told = {"task": task} if task else {}
        vectors.append(model.encode(texts, batch_size=5, show_progress_bar=False, **told))
    return np.concatenate(vectors)

for folder, trust, calls, again, out in json.load(open(sys.argv[1])):
    model = SentenceTransformer(folder, device="cpu", trust_remote_code=trust)
    vectors = encode(model, calls)
    if again:
        model.save(again, create_model_card=False)
        model = SentenceTransformer(again, device="cpu", trust_remote_code=trust)
        assert np.array_equal(encode(model, calls), vectors), folder
    np.save(out, vectors)
assert sys.modules["components"] is None and sys.modules["search"] is None
assert not [name for name in sys.modules if name.startswith(("components.", "search."))]
"""

Call = tuple[list[str], str | None]
Vectors = np.ndarray[Any, np.dtype[np.float32]]


def as_a_user(work: Path, calls: dict[Path, list[Call]], again: bool = False) -> list[Vectors]:
    """The vectors that a user gets of folders, all from one fresh process.

    Args:
        calls: folder -> texts, and the task that is told of them.
        again: save each model to another folder and find it the same there.
    """
    orders = []
    for index, (folder, texts) in enumerate(calls.items()):
        other = str(work / "again" / folder.name) if again else None
        orders.append((str(folder), trusted(folder), texts, other, f"{index}.npy"))
    (work / "orders.json").write_text(json.dumps(orders))
    here = {"PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", USER, "orders.json"],
        cwd=work,
        env=os.environ | here | {"HF_HOME": str(work / "cache")},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [np.load(work / f"{index}.npy") for index in range(len(orders))]


SMALL = SIZES | {"vocab_size": 4096}
BASES: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**SMALL),
    "gpt2": GPT2Config(n_layer=3, n_embd=32, n_head=4, vocab_size=4096, n_positions=64),
    # Its shared expert is given the tokens of all sentences in one row.
    "mixture": Qwen2MoeConfig(
        **SMALL, num_key_value_heads=2, num_experts=2, num_experts_per_tok=1,
        moe_intermediate_size=16, shared_expert_intermediate_size=24,
    ),
}  # fmt: skip
ALL = {"rank": 3, "targets": "all-linear"}
WIDE = {"kind": "family", "width": 16}
CHOSEN: dict[str, tuple[str, dict[str, Any]]] = {
    "lora with all switches": (
        "tiny",
        {"adapter": {"kind": "lora", **ALL, "dora": True, "rslora": True, "last_layers": 2}},
    ),
    "family_lora with all switches": (
        "tiny",
        {
            "adapter": {"kind": "family_lora", **ALL, "shared": True, "rslora": True, "alpha": 5.0},
            "pooling": {"kind": "attention", "heads": 4},
            "head": WIDE | {"families": ["latin", "cjk"], "bias": False},
        },
    ),
    "family_lora alone": ("tiny", {"adapter": {"kind": "family_lora", **ALL, "rslora": True}}),
    "a mean by no stock power": (
        "tiny",
        {"pooling": {"kind": "length_mean", "power": 0.3}, "head": WIDE},
    ),
    "learned weights": (
        "tiny",
        {
            "pooling": {
                "kind": "weighted",
                "weights": {"cls": 0.2, "attention": 0.7, "position_weighted": 0.0},
                "settings": {"attention": {"heads": 2}},
                "learned": True,
            },
        },
    ),
    "an encoder": (
        "bert",
        {
            "adapter": {"kind": "family_lora", **ALL, "shared": True},
            "pooling": {"kind": "cls"},
            "head": WIDE,
        },
    ),
    "transposed weights": (
        "gpt2",
        {"adapter": {"kind": "family_lora", "rank": 3}, "pooling": {"kind": "last"}},
    ),
    "a mixture of experts": ("mixture", {"adapter": {"kind": "family_lora", **ALL}}),
}


def matrix() -> dict[str, tuple[str, dict[str, Any]]]:
    """Every pooling once at least, every head and every adapter twice, in turn."""
    poolings, heads, adapters = (
        list(variants(f"components.{family}", config).items())
        for family, config in (
            ("pooling", PoolingConfig), ("head", HeadConfig), ("adapter", AdapterConfig)
        )
    )  # fmt: skip
    found = {}
    for row in range(max(len(poolings), 2 * len(heads), 2 * len(adapters))):
        chosen = {
            "pooling": poolings[row % len(poolings)],
            "head": heads[row % len(heads)],
            # Shifted in the second round, so that a head meets another adapter.
            "adapter": adapters[(row + row // len(heads)) % len(adapters)],
        }
        name = " ".join(kind for kind, _ in chosen.values())
        found[name] = "tiny", {part: least(*config) for part, config in chosen.items()}
    return found


def least(kind: str, config: type[Config]) -> dict[str, Any]:
    """The fewest settings of a variant."""
    required = {n: f.examples or [] for n, f in config.model_fields.items() if f.is_required()}
    narrow = {"width": 16} if issubclass(config, WideHeadConfig) else {}
    return {"kind": kind} | {name: examples[0] for name, examples in required.items()} | narrow


CASES = matrix() | CHOSEN


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small models in local folders, whose paths an export could give away."""
    root = tmp_path_factory.mktemp("bases")
    for name, config in BASES.items():
        torch.manual_seed(0)
        AutoModel.from_config(copy.deepcopy(config)).save_pretrained(root / name)
        for file in BUILTIN["builtin:tiny"].glob("tokenizer*"):
            shutil.copy(file, root / name)
    shutil.copytree(BUILTIN["builtin:tiny"], root / "tiny")
    return {folder.name: folder for folder in root.iterdir()}


@dataclass(frozen=True)
class Written:
    """An exported folder, and what its encoder says of the calls."""

    folder: Path
    calls: list[Call]
    vectors: Vectors
    routed: bool
    empty: Vectors  # what it says of a padding token, as which a text without tokens is read


def build(base: Base, sections: dict[str, Any], families: Sequence[str] = FAMILIES) -> Encoder:
    """An encoder, every weight away from where it starts."""
    plain = {"adapter": {"kind": "none"}, "pooling": {"kind": "mean"}, "head": {"kind": "identity"}}
    config = TrialConfig.of({"base": {"model": "builtin:tiny"}} | plain | sections)
    encoder = assemble(base, config.adapter, config.pooling, config.head, families)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return encoder.eval()


@torch.no_grad()
def embed(encoder: Encoder, texts: list[str], families: list[int]) -> Vectors:
    tokens = Tokens.of(encoder.base.tokenize(texts))
    found: Vectors = encoder(tokens, torch.tensor(families)).numpy()
    return found


def routes(sections: dict[str, Any]) -> bool:
    return any("family" in sections.get(part, {}).get("kind", "") for part in ("adapter", "head"))


@pytest.fixture(scope="module")
def written(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Written]:
    root = tmp_path_factory.mktemp("written")
    found = {}
    patch = pytest.MonkeyPatch()
    patch.setattr(sys, "dont_write_bytecode", False)  # as it is for most people
    for index, (name, (model, sections)) in enumerate(CASES.items()):
        torch.manual_seed(index)
        base = load(BaseConfig(model=str(bases[model]), max_length=32, dtype="float32"))
        encoder = build(base, sections)
        routed = routes(sections)
        calls = CALLS + TOLD if routed else CALLS
        vectors = np.concatenate([embed(encoder, texts, to) for texts, _, to in calls])
        empty = embed(encoder, [base.tokenizer.pad_token], [NONE])[0]
        folder = root / f"case{index}"
        routing = Routing(FAMILIES, LANGUAGES, FamilyTable().words()) if routed else None
        write_model(encoder, folder, routing)
        told = [(texts, task) for texts, task, _ in calls]
        found[name] = Written(folder, told, vectors, routed, empty)
    patch.undo()
    return found


@pytest.fixture(scope="module")
def loaded(
    written: dict[str, Written], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Vectors]:
    """The vectors that a user gets, and gets again of a model saved by them."""
    work = tmp_path_factory.mktemp("elsewhere")
    vectors = as_a_user(work, {made.folder: made.calls for made in written.values()}, again=True)
    return dict(zip(written, vectors, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_a_user_gets_the_encoder_s_vectors(
    written: dict[str, Written], loaded: dict[str, Vectors], name: str
) -> None:
    assert loaded[name].dtype == np.float32
    np.testing.assert_allclose(loaded[name], written[name].vectors, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, (_, parts) in CASES.items() if routes(parts)])
def test_it_matters_which_family_a_sentence_is_told_to_be_of(
    loaded: dict[str, Vectors], name: str
) -> None:
    untold = loaded[name][: len(MIXED)]
    start = sum(len(texts) for texts, _, _ in CALLS)
    as_gujarati = loaded[name][start : start + len(MIXED)]
    apart = np.abs(untold - as_gujarati).max(axis=1)
    for distance, family in zip(apart, UNTOLD, strict=True):
        assert (distance < 1e-5) == (family == INDIC)


@pytest.mark.parametrize("name", CASES)
def test_the_folder_holds_what_is_needed_and_no_more(
    written: dict[str, Written], name: str
) -> None:
    folder = written[name].folder
    modules = [module["type"] for module in json.loads((folder / "modules.json").read_text())]
    own = [kind for kind in modules if kind.startswith(f"{CUSTOM_FILE}.")]
    assert all(kind.startswith("sentence_transformers.") for kind in modules if kind not in own)
    assert trusted(folder) == bool(own)
    expected = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
                "modules.json", "sentence_bert_config.json",
                "config_sentence_transformers.json"}  # fmt: skip
    expected |= {f"{CUSTOM_FILE}.py"} if own else set()
    # The tokenizers of these bases make nothing of an empty text.
    expected |= set() if own else {"chat_template.jinja"}
    expected |= {"routing.json"} if written[name].routed else set()
    adapter = CASES[name][1].get("adapter", {"kind": "none"})
    if adapter["kind"] == "family_lora":
        of = [*FAMILIES, *["shared"] * adapter.get("shared", False)]
        both = "adapter_config.json", "adapter_model.safetensors"
        expected |= {f"adapters/{family}/{file}" for family in of for file in both}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    inner = {f"{number}_{kind.rpartition('.')[2]}" for number, kind in enumerate(modules) if number}
    of_modules = {file for file in files - expected if file.split("/")[0] in inner}
    assert files - of_modules == expected
    assert {file.partition("/")[2] for file in of_modules} <= {"config.json", "model.safetensors"}


@pytest.mark.parametrize("name", CASES)
def test_no_file_names_a_path_of_this_machine(
    written: dict[str, Written], bases: dict[str, Path], name: str
) -> None:
    folder = written[name].folder
    here = [folder.parent, bases["tiny"].parent, Path(components.__file__).parents[1], Path.home()]
    texts = [file for file in folder.rglob("*") if file.suffix in (".json", ".py")]
    assert len(texts) > 6
    for file in texts:
        assert not [path for path in here if str(path) in file.read_text(encoding="utf-8")], file
    source = folder / f"{CUSTOM_FILE}.py"
    if source.exists():
        assert "components" not in source.read_text(encoding="utf-8")
        assert "import search" not in source.read_text(encoding="utf-8")


def test_what_a_loaded_model_says_of_itself(written: dict[str, Written]) -> None:
    for made in written.values():
        model = load_folder(made.folder)
        assert model.get_embedding_dimension() == made.vectors.shape[1]
        assert model.max_seq_length == 32
        assert model.similarity_fn_name == "cosine"
        # Flash attention would drop the pads, which only the stock modules do without.
        assert model[0].unpad_inputs == (False if trusted(made.folder) else None)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", CASES)
def test_half_precision_gives_nearly_the_same_vectors(
    written: dict[str, Written], name: str, dtype: str
) -> None:
    made = written[name]
    kept = {"device": "cpu", "trust_remote_code": trusted(made.folder)}
    asked = SentenceTransformer(str(made.folder), model_kwargs={"dtype": dtype}, **kept)
    cast = SentenceTransformer(str(made.folder), **kept).to(getattr(torch, dtype))
    bound = {"bfloat16": 0.98, "float16": 0.998}[dtype]
    for model in (asked, cast):
        found = model.encode(MIXED, convert_to_tensor=True)
        assert found.dtype == getattr(torch, dtype)
        cosines = (found.float().numpy() * made.vectors[: len(MIXED)]).sum(axis=1)
        assert cosines.min() > bound


@pytest.mark.parametrize("name", CASES)
def test_autocast_gives_nearly_the_same_vectors(written: dict[str, Written], name: str) -> None:
    made = written[name]
    model = load_folder(made.folder)
    with torch.autocast("cpu", torch.bfloat16):
        found = model.encode(MIXED, convert_to_tensor=True).float().numpy()
    assert (found * made.vectors[: len(MIXED)]).sum(axis=1).min() > 0.98


@pytest.mark.parametrize("name", CASES)
def test_an_empty_sentence_has_a_vector_alone_and_among_others(
    written: dict[str, Written], name: str, tmp_path: Path
) -> None:
    made = written[name]
    model = load_folder(made.folder)
    assert len(model.encode([])) == 0
    expect_everywhere(model, "", made.empty)
    again = tmp_path / "again"
    model.save_pretrained(str(again))
    expect_everywhere(load_folder(again), "", made.empty)


def expect_everywhere(model: SentenceTransformer, text: str, expected: Vectors) -> None:
    """Check a text's vector alone, and wherever it stands in a batch."""
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(model.encode(text), expected, rtol=0, atol=1e-5)
    for texts in ([text], [text, text], [text, "a", "Ein Haus, ein Garten."], ["Ein Haus", text]):
        found = model.encode(texts)[texts.index(text)]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def word_tokenizer(special: bool) -> PreTrainedTokenizerFast:
    """Make a tokenizer of words, which drops white space and unknown characters."""
    words = ["[PAD]", "[CLS]", "[SEP]", "a", "haus", "ein", "garten", "das", ",", "."]
    backend = Tokenizer(BPE({word: index for index, word in enumerate(words)}, []))
    backend.normalizer = BertNormalizer()
    backend.pre_tokenizer = BertPreTokenizer()
    if special:
        backend.post_processor = BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    named = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **named)


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize(
    "pooling",
    [
        {"kind": "mean"},
        {"kind": "max"},
        {"kind": "cls"},
        {"kind": "last"},
        {"kind": "position_weighted"},
        {"kind": "weighted", "weights": {"mean": 0.5, "max": 0.5}},
        {"kind": "attention", "heads": 2},
    ],
    ids=lambda pooling: pooling["kind"],
)
def test_a_text_of_which_nothing_is_kept_has_a_vector(
    bases: dict[str, Path], tmp_path: Path, pooling: dict[str, Any], special: bool
) -> None:
    base = load(BaseConfig(model=str(bases["bert"]), max_length=32, dtype="float32"))
    base.tokenizer = word_tokenizer(special)
    encoder = build(base, {"pooling": pooling, "head": {"kind": "linear", "width": 8}})
    # With special tokens these are what is left; without, one padding token stands for the text.
    read_as = "" if special else "[PAD]"
    expected, ordinary = embed(encoder, [read_as, "Ein Garten"], [0, 0])
    write_model(encoder, tmp_path / "out")
    assert trusted(tmp_path / "out") == (not special or pooling["kind"] == "attention")
    model = load_folder(tmp_path / "out")
    np.testing.assert_allclose(model.encode("Ein Garten"), ordinary, rtol=0, atol=1e-5)
    for text in ("", " ", "\u200b", "\n\t", "\x00"):
        expect_everywhere(model, text, expected)


def test_a_base_s_chat_template_is_not_put_around_sentences(base: Base, tmp_path: Path) -> None:
    chatty = copy.deepcopy(base)
    chatty.tokenizer.chat_template = "{% for m in messages %}user: {{ m['content'] }}!{% endfor %}"
    for kind in ("mean", "attention"):
        encoder = build(chatty, {"pooling": {"kind": kind}})
        # White space at the ends, what looks like a template, and a text that is cut.
        texts = [*MIXED, " a \n", "{{ pad_token }}", "x" * 200 + "\n", "query: a"]
        expected = embed(encoder, texts, [0] * len(texts))
        write_model(encoder, tmp_path / kind)
        model = load_folder(tmp_path / kind)
        np.testing.assert_allclose(model.encode(texts), expected, rtol=0, atol=1e-6)
        prompted = model.encode(["a"], prompt="query: ")[0]
        np.testing.assert_allclose(prompted, expected[-1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["family_lora with all switches", "a mean by no stock power"])
def test_a_model_trains_on_with_the_library_s_own_trainer(
    written: dict[str, Written], tmp_path: Path, name: str
) -> None:
    model = load_folder(written[name].folder)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    pairs = {"anchor": ["Das Haus.", "집이 작다."], "positive": ["17:45", "ઘર નાનું છે."]}
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=1, learning_rate=1e-2, use_cpu=True,
        report_to="none", save_strategy="no", per_device_train_batch_size=2, disable_tqdm=True,
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model, arguments, Dataset.from_dict(pairs), loss=MultipleNegativesRankingLoss(model)
    )
    trainer.train()
    moved = {key for key, value in model.state_dict().items() if not value.equal(before[key])}
    assert any(key.startswith("0.model.") for key in moved)  # the base
    assert any(".component." in key for key in moved)  # the head
    # The batch has sentences of every family and of none, so that all weights train.
    assert {key for key in before if "/lora_B" in key} <= moved
    vectors = model.encode(MIXED)
    folder = tmp_path / "again"
    model.save_pretrained(str(folder))
    np.testing.assert_allclose(load_folder(folder).encode(MIXED), vectors, rtol=0, atol=1e-6)


def test_a_loss_that_encodes_twice_trains_a_routed_model(written: dict[str, Written]) -> None:
    model = load_folder(written["family_lora with all switches"].folder)
    loss = CachedMultipleNegativesRankingLoss(model, mini_batch_size=1)
    features = [model.preprocess(["Das Haus.", "집이 작다."]),
                model.preprocess(["The house.", "ઘર નાનું છે."])]  # fmt: skip
    loss(features, torch.zeros(2)).backward()
    for name, parameter in model.named_parameters():
        if "/lora_B" in name or ".component." in name:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all()


def test_task_prompt_and_truncation_work_together(written: dict[str, Written]) -> None:
    made = written["family_lora with all switches"]
    model = load_folder(made.folder)
    whole = model.encode(["search: 17:45"], task="gu")
    found = model.encode(["17:45"], task="gu", prompt="search: ", truncate_dim=8)
    np.testing.assert_allclose(found, whole[:, :8], rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("name", ["family_lora alone", "family_lora with all switches"])
def test_the_folders_of_families_are_plain_peft_adapters_of_the_base(
    written: dict[str, Written], name: str
) -> None:
    folder = written[name].folder
    model = load_folder(folder)
    texts = {"ઘર નાનું છે.": "indic", "a": "latin", "집이 작다.": "cjk", "Дом.": "shared"}
    for text, family in texts.items():
        features = model.preprocess([text])
        plain = AutoModel.from_pretrained(folder)
        if (folder / "adapters" / family).exists():
            plain = PeftModel.from_pretrained(plain, str(folder / "adapters" / family))
        expected = plain(input_ids=features["input_ids"]).last_hidden_state
        found = model[0](features)["token_embeddings"]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_a_model_is_a_model_of_its_own(written: dict[str, Written], copied: Any) -> None:
    made = written["family_lora with all switches"]
    model = load_folder(made.folder)
    model.encode(["a", "집이 작다."])
    other = copied(model)
    del model[0].routing  # whatever still leads back to the first one now shows
    vectors = other.encode(MIXED)
    np.testing.assert_allclose(vectors, made.vectors[: len(MIXED)], rtol=0, atol=1e-6)


ROUTED = {
    "adapter": {"kind": "family_lora", "rank": 2, "shared": True},
    "head": {"kind": "family", "width": 8},
}


def test_a_prompt_is_not_what_tells_the_family(base: Base, tmp_path: Path) -> None:
    own = copy.deepcopy(base)
    encoder = build(own, ROUTED)
    expected = embed(encoder, ["search: 집이 작다.", "search: ઘર"], [CJK, INDIC])
    write_model(encoder, tmp_path / "out", Routing(FAMILIES, LANGUAGES, FamilyTable().words()))
    found = load_folder(tmp_path / "out").encode(["집이 작다.", "ઘર"], prompt="search: ")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "untold"),
    [
        # korean, latin, other, none of them
        ({"Hang": "korean"}, [0, 1, 2, 3]),
        # A language's family says nothing of a script's: bare text in it is still CJK, unknown.
        ({"ko": "korean"}, [3, 1, 2, 3]),
    ],
)
def test_families_of_a_user_s_own(
    base: Base, tmp_path: Path, changes: dict[str, str], untold: list[int]
) -> None:
    table = FamilyTable(changes)
    texts = ["집이 작다.", "Ein Haus.", "17:45", "家は小さい。"]
    languages = {"ko": "korean", "de": "latin", "el": "other"}
    encoder = build(copy.deepcopy(base), ROUTED, ("korean", "latin", "other"))
    expected: dict[str | None, Any] = {None: embed(encoder, texts, untold)}
    for task in ("ko", "korean"):
        expected[task] = embed(encoder, texts, [0] * 4)
    assert languages["ko"] == table.of("ko")
    routing = Routing(("korean", "latin", "other"), languages, table.words())
    write_model(encoder, tmp_path / "out", routing)
    model = load_folder(tmp_path / "out")
    for asked, vectors in expected.items():
        told = {"task": asked} if asked else {}
        np.testing.assert_allclose(model.encode(texts, **told), vectors, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", list(variants("components.pooling", PoolingConfig)))
def test_pads_may_stand_on_either_side_and_instead_of_a_sentence(kind: str) -> None:
    config = variants("components.pooling", PoolingConfig)[kind].model_validate({"kind": kind})
    assert isinstance(config, PoolingConfig)
    pooling = config.build(16)
    packed = PackedPooling.__new__(PackedPooling)
    nn.Module.__init__(packed)
    packed.component = pooling
    lengths = [3, 1, 5, 2]
    sentences = [torch.randn(length, 16) for length in lengths]
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    expected = pooling(States(torch.cat(sentences), offsets))
    for left in (False, True):
        states = torch.full((4, 6, 16), 1e9)  # pads that would show
        mask = torch.zeros(4, 6, dtype=torch.int64)
        for row, sentence in enumerate(sentences):
            place = slice(6 - len(sentence), 6) if left else slice(0, len(sentence))
            states[row, place] = sentence
            mask[row, place] = 1
        found = packed({"token_embeddings": states, "attention_mask": mask})
        torch.testing.assert_close(found["sentence_embedding"], expected, rtol=0, atol=1e-6)
        # An empty sentence is some number, not NaN, and no other's concern.
        mask[1] = 0
        found = packed({"token_embeddings": states, "attention_mask": mask})
        assert found["sentence_embedding"].isfinite().all()
        for row in (0, 2, 3):
            torch.testing.assert_close(
                found["sentence_embedding"][row], expected[row], rtol=0, atol=1e-6
            )
        assert mask[1].sum() == 0, "the caller's mask is as it was"
