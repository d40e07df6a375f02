"""The built-in base that is in the tree: loadable, small, and with the character it is made for."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase, Qwen3Model

from search.data.cldr import LANGUAGES, phrases
from tools import build_tiny

FOLDER = Path(build_tiny.__file__).parents[1] / "components" / "base" / "tiny"
ROWS = 100


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(FOLDER, local_files_only=True)
    return loaded


@pytest.fixture(scope="module")
def model() -> Qwen3Model:
    loaded = AutoModel.from_pretrained(FOLDER, local_files_only=True)
    assert isinstance(loaded, Qwen3Model)
    return loaded


@pytest.fixture(scope="module")
def unseen() -> dict[str, list[str]]:
    return phrases("validation", ROWS, 11)


def _embed(model: Qwen3Model, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Tensor:
    """Mean-pooled unit vectors of the texts."""
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    mask_BL1 = batch["attention_mask"].unsqueeze(-1)
    with torch.no_grad():
        states_BLD = model(**batch).last_hidden_state
    return F.normalize((states_BLD * mask_BL1).sum(dim=1) / mask_BL1.sum(dim=1), dim=-1)


def test_the_folder_holds_four_files_and_at_most_8_megabytes() -> None:
    files = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert set(files) == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(files.values()) <= 8_000_000


def test_model_and_tokenizer_fit_each_other(
    model: Qwen3Model, tokenizer: PreTrainedTokenizerBase
) -> None:
    assert len(tokenizer) == model.config.vocab_size == 4096
    assert tokenizer.pad_token_id == model.config.pad_token_id == 0
    assert tokenizer.model_max_length == model.config.max_position_embeddings == 256
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_705_984
    names = {name.rsplit(".", 1)[-1] for name, _ in model.layers[0].named_modules()}
    assert names >= {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_the_tokenizer_is_lossless(
    tokenizer: PreTrainedTokenizerBase, unseen: dict[str, list[str]]
) -> None:
    for texts in unseen.values():
        for text in texts[:20]:
            assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.decode(tokenizer("Ünïcode 🦜  twice")["input_ids"]) == "Ünïcode 🦜  twice"


def test_languages_cost_as_different_numbers_of_tokens_as_the_users_did(
    tokenizer: PreTrainedTokenizerBase, unseen: dict[str, list[str]]
) -> None:
    tokens = {
        language: sum(map(len, tokenizer(texts)["input_ids"])) / ROWS
        for language, texts in unseen.items()
    }
    ratio = {language: count / tokens["en"] for language, count in tokens.items()}
    assert 13 < tokens["en"] < 18
    assert max(ratio["zh"], ratio["ar"]) < 0.7
    assert 1.4 < ratio["ko"] < ratio["de"] < ratio["gu"]
    assert ratio["gu"] == pytest.approx(ratio["pa"], rel=0.05)
    assert ratio["gu"] > 2.3


def test_frozen_it_aligns_the_languages_of_its_contrastive_loss_only(
    model: Qwen3Model, tokenizer: PreTrainedTokenizerBase, unseen: dict[str, list[str]]
) -> None:
    pivot = _embed(model, tokenizer, unseen["en"])
    hits = {}
    for language in LANGUAGES[1:]:
        nearest = (pivot @ _embed(model, tokenizer, unseen[language]).T).argmax(dim=1)
        hits[language] = (nearest == torch.arange(ROWS)).float().mean().item()
    assert min(hits[language] for language in ("zh", "ar", "de")) > 0.8, hits
    assert max(hits[language] for language in ("ko", "gu", "pa")) < 0.4, hits


def test_the_loss_equals_a_loop_over_single_phrases() -> None:
    torch.manual_seed(0)
    model = build_tiny.untrained(0, 1)
    rows = [[5, 6, 7, 8], [9], [10, 11]], [[12, 13], [14, 15, 16], [17]]
    plain = [[3, 4, 5], [8, 2, 2, 9, 1]]
    contrastive, language_model = build_tiny.step_losses(
        model, dict(zip(("en", "zh"), rows, strict=True)), plain
    )

    def states(ids: list[int]) -> Tensor:
        values: Tensor = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        return values

    one, two = (torch.stack([states(ids).mean(dim=0) for ids in view]) for view in rows)
    terms = []
    for anchors, others in ((one, two), (two, one)):
        for i in range(3):
            similar = F.cosine_similarity(anchors[i], others, dim=-1) / 0.05
            terms.append(similar.exp().sum().log() - similar[i])
    torch.testing.assert_close(contrastive, torch.stack(terms).mean())
    surprise = []
    for ids in plain:
        logits = states(ids) @ model.embed_tokens.weight.T
        for position, following in enumerate(ids[1:]):
            surprise.append(-logits[position].log_softmax(dim=0)[following])
    torch.testing.assert_close(language_model, torch.stack(surprise).mean())


def test_the_tokenizer_in_the_tree_is_what_the_script_learns(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    assert build_tiny.learn_tokenizer(seed=0).get_vocab() == tokenizer.get_vocab()


def test_a_seed_makes_the_same_base_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unseen: dict[str, list[str]]
) -> None:
    """Three short builds from scratch: equal for one seed, different for another."""
    monkeypatch.setattr(build_tiny, "TOKENIZER_ROWS", 300)
    monkeypatch.setattr(build_tiny, "TRAINING_ROWS", 300)
    threads = torch.get_num_threads()
    try:
        for name, seed in (("one", 0), ("two", 0), ("other", 1)):
            build_tiny.build(tmp_path / name, seed=seed, steps=1)
    finally:
        torch.set_num_threads(threads)
    one, two, other = (
        _embed(
            AutoModel.from_pretrained(tmp_path / name),
            AutoTokenizer.from_pretrained(tmp_path / name),
            unseen["de"][:20],
        )
        for name in ("one", "two", "other")
    )
    torch.testing.assert_close(one, two)
    assert not torch.allclose(one, other, atol=0.01)
