"""Exported folders: what a user loads with sentence-transformers alone is the trained encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from components.base import Base, load
from components.encoder import assemble
from search.data.corpus import Corpus
from search.data.tokens import TokenisedCorpus, tokenise
from search.evaluation.retrieval import encode
from search.export import CUSTOM_FILE, ExportError, export, load_folder, score_folder, trusted
from search.export.card import as_text, card
from search.export.facts import Facts, license_of
from search.runtime.ranks import Ranks
from search.settings.trial import Scores, TrialConfig
from search.training.checkpoint import restore_weights
from search.training.loop import EpochReport, train
from tests.search.export.test_deployed import Call, Vectors, as_a_user

LORA: dict[str, Any] = {"kind": "lora", "rank": 4, "targets": "all-linear", "last_layers": 2}
MLP = {"kind": "mlp", "width": 16, "hidden": 24, "activation": "gelu"}
KINDS: dict[str, dict[str, Any]] = {
    "mean and linear": {},
    "mean, mlp and lora": {"head": MLP, "adapter": LORA},
    "attention and lora": {"pooling": {"kind": "attention", "heads": 4}, "adapter": LORA},
    "unfrozen": {"adapter": {"kind": "unfrozen", "embeddings": True}, "head": {"kind": "identity"}},
    "family and family_lora": {
        "head": {"kind": "family", "width": 16},
        "adapter": {**LORA, "kind": "family_lora", "shared": True},
    },
}
CUSTOM = {"attention and lora", "family and family_lora"}
ROUTED = {"family and family_lora"}
HALF: dict[str, Any] = {
    "base": {"model": "builtin:tiny", "max_length": 32, "dtype": "bfloat16"},
    "adapter": LORA,
}
HALVES: dict[str, dict[str, Any]] = {
    "bfloat16": HALF,
    "unfrozen bfloat16": HALF | {"adapter": {"kind": "unfrozen", "last_layers": 2}},
}

MakeConfig = Callable[..., TrialConfig]
Texts = tuple[Corpus, Corpus]
Corpora = tuple[TokenisedCorpus, TokenisedCorpus]


@dataclass(frozen=True)
class Trained:
    """A trained trial and where it was exported to."""

    config: TrialConfig
    report: EpochReport
    folder: Path
    scores: Scores
    vectors: Vectors


def sentences(corpus: Corpus, routed: bool) -> list[Call]:
    """The sentences of each language, and the language where it matters."""
    return [(corpus.texts(language), language if routed else None) for language in corpus.languages]


def trained(config: TrialConfig, base: Base, texts: Texts, folder: Path) -> Trained:
    """Train an epoch, encode with the trial's own weights, and export."""
    train_corpus, validation = (tokenise(corpus, "en", base.tokenize) for corpus in texts)
    (report,) = train(config, base, train_corpus, validation, max_epochs=1)
    families = validation.families
    encoder = assemble(base, config.adapter, config.pooling, config.head, families)
    restore_weights(report.checkpoint.part("encoder."), encoder)
    vectors = encode(encoder.eval(), validation, validation.present(), Ranks()).numpy()
    encoder.close()
    scores = export(
        config,
        report.checkpoint,
        folder,
        validation=texts[1],
        tokenised=validation,
        expected=report.scores,
    )
    return Trained(config, report, folder, scores, vectors)


@pytest.fixture(scope="module")
def exported(
    base: Base, texts: Texts, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Trained]:
    root = tmp_path_factory.mktemp("exported")
    plain = {
        "base": {"model": "builtin:tiny", "max_length": 32, "dtype": "float32"},
        "head": {"kind": "linear", "width": 16},
        "training": {"batch_size": 8, "pairs_per_epoch": 24},
        "optimizer": {"lr": 1e-2},  # far enough that a lost weight cannot hide
    }
    found = {
        name: trained(TrialConfig.of(plain | sections), base, texts, root / name.replace(" ", "_"))
        for name, sections in KINDS.items()
    }
    for name, sections in HALVES.items():
        half = TrialConfig.of(plain | sections)
        found[name] = trained(half, load(half.base), texts, root / name.replace(" ", "_"))
    return found


@pytest.fixture(scope="module")
def loaded(
    exported: dict[str, Trained], texts: Texts, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Vectors]:
    """The vectors that a user gets."""
    calls = {made.folder: sentences(texts[1], name in ROUTED) for name, made in exported.items()}
    vectors = as_a_user(tmp_path_factory.mktemp("elsewhere"), calls)
    return dict(zip(exported, vectors, strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_a_user_gets_the_encoder_s_vectors(
    exported: dict[str, Trained], loaded: dict[str, Any], name: str
) -> None:
    np.testing.assert_allclose(loaded[name], exported[name].vectors, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(loaded[name], axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_the_folder_scores_what_the_trial_scored(exported: dict[str, Trained], name: str) -> None:
    made = exported[name]
    assert made.scores.accuracy == pytest.approx(made.report.scores.accuracy, abs=1e-3)
    assert made.scores.by_language.keys() == made.report.scores.by_language.keys()


@pytest.mark.parametrize("name", HALVES)
def test_a_bfloat16_base_makes_a_folder_that_loads_and_encodes(
    exported: dict[str, Trained], loaded: dict[str, Any], name: str
) -> None:
    vectors = loaded[name]
    assert vectors.dtype == np.float32
    # Both round at every layer, each in its own places.
    assert cosines(vectors, exported[name].vectors).min() > 0.998


def cosines(one: Vectors, other: Vectors) -> Vectors:
    """The cosine of each row of one with that of the other: half-precision rows are no units."""
    found: Vectors = (
        (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    )
    return found


def dtypes(file: Path) -> set[torch.dtype]:
    """Dtypes of the tensors of a file."""
    return {tensor.dtype for tensor in load_file(file).values()}


ROUTED_HALF = {"adapter": {**LORA, "kind": "family_lora"}, "head": {"kind": "family", "width": 16}}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "sections",
    [
        {"adapter": LORA},
        {"adapter": LORA, "pooling": {"kind": "attention", "heads": 4}},
        ROUTED_HALF,
    ],
    ids=["stock", "custom", "routed"],
)
def test_best_keeps_the_dtype_of_the_base_and_loads_in_float32_too(
    texts: Texts, tmp_path: Path, sections: dict[str, Any], dtype: str
) -> None:
    base = {"model": "builtin:tiny", "max_length": 32, "dtype": dtype}
    training = {"batch_size": 8, "pairs_per_epoch": 24}
    plain = {"base": base, "head": {"kind": "linear", "width": 16}, "training": training}
    config = TrialConfig.of(plain | sections)
    made = trained(config, load(config.base), texts, tmp_path / "best")
    wanted = getattr(torch, dtype)
    assert json.loads((made.folder / "config.json").read_text())["dtype"] == dtype
    assert dtypes(made.folder / "model.safetensors") == {wanted}
    others = [file for file in made.folder.rglob("*.safetensors") if file.parent != made.folder]
    assert others
    assert all(dtypes(file) == {torch.float32} for file in others)
    card_text = (made.folder / "README.md").read_text()
    assert f"loaded, in {dtype};" in card_text
    calls = sentences(texts[1], "family" in sections.get("head", {}).get("kind", ""))
    for asked, expected in (({}, wanted), ({"dtype": "float32"}, torch.float32)):
        model = SentenceTransformer(
            str(made.folder),
            device="cpu",
            model_kwargs=asked,
            trust_remote_code=trusted(made.folder),
        )
        assert {parameter.dtype for parameter in model.parameters()} == {expected}
        found = np.concatenate(
            [model.encode(some, **({"task": task} if task else {})) for some, task in calls]
        )
        assert found.dtype == (np.float16 if expected == torch.float16 else np.float32)
        assert cosines(found.astype(np.float32), made.vectors).min() > 0.998
        assert np.isfinite(model.encode("")).all()


def test_best_is_saved_in_float32_on_request(texts: Texts, tmp_path: Path) -> None:
    base = {"model": "builtin:tiny", "max_length": 32, "dtype": "bfloat16", "save_dtype": "float32"}
    training = {"batch_size": 8, "pairs_per_epoch": 24}
    config = TrialConfig.of({"base": base, "adapter": LORA, "training": training})
    made = trained(config, load(config.base), texts, tmp_path / "best")
    assert all(dtypes(file) == {torch.float32} for file in made.folder.rglob("*.safetensors"))
    assert "All weights are saved in float32." in (made.folder / "README.md").read_text()
    # The merge did not round: what was added to the base is of the adapter's rank.
    before = load(config.base).model.state_dict()
    after = load_file(made.folder / "model.safetensors")
    moved = [after[name] - before[name].float() for name in after if name in before]
    ranks = [int(torch.linalg.matrix_rank(d, atol=1e-6)) for d in moved if d.ndim == 2 and d.any()]
    assert ranks
    assert max(ranks) <= LORA["rank"]


@pytest.mark.parametrize("name", [*KINDS, *HALVES])
def test_only_what_has_no_stock_module_brings_a_file_of_its_own(
    exported: dict[str, Trained], name: str
) -> None:
    folder = exported[name].folder
    custom = name in CUSTOM
    assert trusted(folder) == (folder / f"{CUSTOM_FILE}.py").exists() == custom
    modules = json.loads((folder / "modules.json").read_text())
    stock = [module["type"].startswith("sentence_transformers.") for module in modules]
    assert all(stock) != custom
    readme = (folder / "README.md").read_text()
    assert ("trust_remote_code=True" in readme) == custom
    assert ('task="' in readme) == (name in ROUTED)
    if custom:
        source = (folder / f"{CUSTOM_FILE}.py").read_text()
        assert "components" not in source
        assert "import search" not in source


@pytest.mark.parametrize("name", [*KINDS, *HALVES])
def test_the_folder_holds_the_whole_model_and_nothing_of_this_machine(
    exported: dict[str, Trained], name: str
) -> None:
    folder = exported[name].folder
    assert not folder.with_name(folder.name + ".new").exists()
    files = [file for file in folder.rglob("*") if file.is_file()]
    # Elsewhere it is merged: PEFT is not needed.
    assert any("adapter" in file.name for file in files) == (name in ROUTED)
    for file in files:
        if file.suffix in (".json", ".md", ".py", ".txt"):
            assert str(folder.parent) not in file.read_text(), file
    model = load_folder(folder)
    assert model.max_seq_length == 32
    config = exported[name].config
    assert model.get_embedding_dimension() == config.head.out(128)


def test_a_long_sentence_is_cut_where_the_encoder_cuts_it(
    exported: dict[str, Trained], base: Base
) -> None:
    made = exported["mean, mlp and lora"]
    long = " ".join(["Montag, 3. April 2017"] * 40)
    assert len(base.tokenize([long])[0]) == 32
    encoder = assemble(base, made.config.adapter, made.config.pooling, made.config.head)
    restore_weights(made.report.checkpoint.part("encoder."), encoder)
    corpus = tokenise(Corpus.of({"en": [long], "de": [long]}), "en", base.tokenize)
    expected = encode(encoder.eval(), corpus, corpus.present(), Ranks()).numpy()
    encoder.close()
    vector = load_folder(made.folder).encode([long])
    np.testing.assert_allclose(vector[0], expected[0], atol=1e-5)


def test_exporting_leaves_no_mark_on_a_base_in_use(
    exported: dict[str, Trained], base: Base, texts: Texts
) -> None:
    # The merge is for good, so it must have been into a base of the export's own.
    fresh = load(TrialConfig.of({"base": {"model": "builtin:tiny", "dtype": "float32"}}).base)
    for name, value in fresh.model.state_dict().items():
        assert torch.equal(base.model.state_dict()[name], value), name


def test_a_folder_that_scores_otherwise_is_refused_and_is_not_best(
    exported: dict[str, Trained], texts: Texts, corpora: Corpora, tmp_path: Path
) -> None:
    made = exported["mean and linear"]
    wrong = Scores(made.report.scores.accuracy + 0.01, made.report.scores.by_language)
    with pytest.raises(ExportError) as caught:
        export(
            made.config,
            made.report.checkpoint,
            tmp_path / "best",
            validation=texts[1],
            tokenised=corpora[1],
            expected=wrong,
        )
    assert not (tmp_path / "best").exists()
    assert f"{wrong.accuracy:.4f}" in str(caught.value)
    assert "\n" not in str(caught.value)
    # A second try is not in the way of the first one's remains.
    export(
        made.config,
        made.report.checkpoint,
        tmp_path / "best",
        validation=texts[1],
        tokenised=corpora[1],
        expected=made.report.scores,
    )
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_checkpoint_of_another_trial_is_refused(
    exported: dict[str, Trained], texts: Texts, corpora: Corpora, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="of another model"):
        export(
            exported["mean, mlp and lora"].config,
            exported["mean and linear"].report.checkpoint,
            tmp_path / "best",
            validation=texts[1],
            tokenised=corpora[1],
            expected=Scores(0.5, {}),
        )
    assert not (tmp_path / "best").exists()


def test_a_folder_is_scored_as_the_encoder_is(
    exported: dict[str, Trained], texts: Texts, corpora: Corpora
) -> None:
    made = exported["attention and lora"]
    found = score_folder(made.folder, texts[1], corpora[1])
    assert found.accuracy == pytest.approx(made.report.scores.accuracy, abs=1e-3)


def test_the_card_shows_scores_and_settings(config: MakeConfig) -> None:
    text = card(config(), Scores(0.5, {"de": 0.25, "ko": 0.75}), custom=False)
    assert "| de | 0.250 |" in text
    assert "| ko | 0.750 |" in text
    assert '"kind": "linear"' in text


def metadata(text: str) -> ModelCardData:
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    return data


def test_the_card_s_metadata_is_what_the_hub_reads(config: MakeConfig) -> None:
    made = config(base={"model": "some-owner/some-model"})
    scores = Scores(0.5, {"de": 0.25, "zho_Hans": 0.75})
    data = metadata(card(made, scores, custom=False, pivot="en"))
    assert data.library_name == "sentence-transformers"
    assert data.pipeline_tag == "sentence-similarity"
    assert data.language == ["de", "en", "zh"]
    assert data.base_model == "some-owner/some-model"
    assert {one.dataset_config: one.metric_value for one in data.eval_results or ()} == {
        None: 0.5,
        "de": 0.25,
        "zho_Hans": 0.75,
    }
    assert {one.dataset_split for one in data.eval_results or ()} == {"validation"}
    tested = card(made, scores, custom=False, pivot="en", facts=Facts(8, tested=True))
    assert {one.dataset_split for one in metadata(tested).eval_results or ()} == {"test"}
    assert "may be lower" not in tested


def test_the_card_tells_how_the_model_was_made_and_how_far_to_trust_it(
    config: MakeConfig, tmp_path: Path
) -> None:
    facts = Facts(768, 12_000, ("owner/data",), "apache-2.0")
    scores = Scores(0.5, {"de": 0.25, "ko": 0.75})
    text = card(config(), scores, custom=False, facts=facts, pairs={"de": 100, "ko": 100})
    data = metadata(text)
    assert (data.license, data.datasets) == ("apache-2.0", ["owner/data"])
    for words in (
        "Dimensions of an embedding: 768",
        "Pairs of sentences to train on: 12,000; an epoch draws 16 of them.",
        "Seed: 0. Versions: sentence-transformers ",
        # sqrt(p (1 - p) / n) at p = 1/2
        "With about 100 pairs a language, the standard error of an accuracy is up to 5.0 points",
        "may be lower",
    ):
        assert words in text, words


def test_the_license_of_a_base_is_that_of_the_card_beside_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    base = TrialConfig.of({"base": {"model": str(tmp_path)}}).base
    assert license_of(base) is None
    (tmp_path / "README.md").write_text("# no metadata")
    assert license_of(base) is None
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# A model")
    assert license_of(base) == "mit"


def test_the_card_shows_the_reference_the_untouched_base_and_the_pairs(config: MakeConfig) -> None:
    text = card(
        config(),
        Scores(0.5, {"de": 0.25, "ko": 0.75}),
        custom=False,
        pairs={"de": 20, "ko": 31},
        reference=Scores(0.3, {"de": 0.1, "ko": 0.5}),
        untouched=Scores(0.2, {"de": 0.2}),
    )
    assert "| language | pairs | accuracy | reference | untouched base |" in text
    assert "| de | 20 | 0.250 | 0.100 | 0.200 |" in text
    assert "| ko | 31 | 0.750 | 0.500 |  |" in text
    assert "| all languages | 51 | 0.500 | 0.300 | 0.200 |" in text


def test_nothing_that_a_file_or_a_setting_says_is_markup_in_the_card(config: MakeConfig) -> None:
    language = "x|`</td><script>\n# [a](b)"
    made = config(base={"model": "/home/somebody/models/mine"}, case="```\n<b>|")
    text = card(made, Scores(0.5, {language: 0.25}), custom=False)
    assert "<" not in text
    assert "/home/somebody" not in text
    assert '"model": "mine"' in text
    assert "- Base model: mine\n- All weights are saved in float32." in text
    assert text.count("```") == 4  # the two blocks of code
    (row,) = [line for line in text.splitlines() if "script" in line]
    assert row.replace("\\|", "").count("|") == 3
    block = text.split("```json\n")[1].split("\n```")[0]
    assert json.loads(block)["case"] == "```\n<b>|"
    assert metadata(text).language is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("against trial 2: +0.016 (95 %)", "against trial 2: +0.016 (95 %)"),  # as it is read
        ("- x", "\\- x"), ("+0.5", "\\+0.5"), ("# x", "\\# x"), ("12. x", "12\\. x"),
        ("see http://a.b", "see http\\://a.b"), (":smile:", "\\:smile:"),
        ("a_b*c [x](y)!", "a\\_b\\*c \\[x\\](y)!"), ("<b>&", "&lt;b&gt;&amp;"),
    ],
)  # fmt: skip
def test_a_name_as_markdown_shows_its_characters(name: str, text: str) -> None:
    assert as_text(name) == text


def test_a_stock_folder_is_made_of_stock_modules(exported: dict[str, Trained]) -> None:
    model = SentenceTransformer(str(exported["mean, mlp and lora"].folder), device="cpu")
    names = [type(module).__name__ for module in model]
    assert names == ["Transformer", "Pooling", "Dense", "Dense", "Normalize"]
