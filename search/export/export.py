"""A trained trial -> a folder that has been loaded again and held to the trial's score."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from components.base import load
from components.encoder import Encoder, assemble
from components.languages import FamilyTable
from search.data.corpus import Corpus
from search.data.prompts import Prompts
from search.data.tokens import TokenisedCorpus
from search.evaluation.retrieval import encode, score
from search.export.card import card
from search.export.custom import trusted
from search.export.facts import Facts, license_of
from search.export.model import Form, Routing, write_model
from search.export.reference import base_reference
from search.runtime.precision import use_tensor_cores
from search.runtime.ranks import Ranks
from search.settings.trial import Scores, TrialConfig
from search.training.checkpoint import Checkpoint, restore_weights

# How far, in accuracy, a folder may be from its trial. In half precision every layer rounds, and a
# folder rounds in more places than its trial, whose pooling and head are float32: it may differ in
# so many sentences of the smallest language, if that is more.
TOLERANCE = 0.001
HALF_TOLERANCE = 0.02
HALF_SENTENCES = 2


@dataclass(frozen=True)
class HeldOut:
    """Sentences that chose nothing, whose figures stand first on the model card.

    Attributes:
        text, tokenised: the sentences.
        reference, untouched: scores of the reference trial and of the base without training on
            them; None where they were not taken.
        comparison: what else is known of the model, a sentence each.
    """

    text: Corpus
    tokenised: TokenisedCorpus
    reference: Scores | None = None
    untouched: Scores | None = None
    comparison: tuple[str, ...] = ()


class ExportError(RuntimeError):
    """The folder does not do what the trained encoder did; one sentence says how."""


def export(
    config: TrialConfig,
    checkpoint: Checkpoint,
    folder: Path,
    *,
    validation: Corpus,
    tokenised: TokenisedCorpus,
    expected: Scores,
    table: FamilyTable | None = None,
    reference: Scores | None = None,
    untouched: Scores | None = None,
    test: HeldOut | None = None,
    prompts: Prompts | None = None,
    form: Form | None = None,
    train_pairs: int | None = None,
    datasets: tuple[str, ...] = (),
) -> Scores:
    """Write an encoder as a sentence-transformers folder, load it again and hold it to its score.

    By default an adapter is merged into the base or, where it is one of families, saved beside it
    as PEFT folders; the folder needs neither the base nor PEFT. The base is saved in the dtype that
    it was run in, or in float32 (``base.save_dtype``), all else in float32. The folder appears
    under its name only once it has proved equal.

    Args:
        folder: what it holds is replaced.
        validation, tokenised: the sentences that ``expected`` was measured on, as text and tokens.
        table: leads bare text to its family; the one there is, by default.
        reference, untouched: scores of the reference trial and of the base without training, for
            the model card.
        test: sentences whose figures stand on the model card in place of the validation's.
        prompts: what stands before each sentence in ``tokenised``; nothing by default.
        form: another way to write it.
        train_pairs, datasets: as in `Facts`, for the model card.

    Returns:
        The scores of the folder as sentence-transformers loads it.

    Raises:
        ExportError: the loaded model scores otherwise.
        ValueError: the trial cannot be written in this form.
    """
    form = form or Form()
    reference_of_base = _reference(config) if form.adapters == "peft" else None
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    use_tensor_cores(device)  # as the trial did
    base = load(config.base, device)
    trained_in = base.model.dtype
    dtype = form.dtype or (torch.float32 if config.base.save_dtype == "float32" else trained_in)
    pairs = pairs_by_language(tokenised)
    tolerance = TOLERANCE
    if (trained_in, dtype) != (torch.float32, torch.float32):
        fewest = min((count for count in pairs.values() if count), default=1)
        tolerance = max(HALF_TOLERANCE, HALF_SENTENCES / fewest)
    encoder = assemble(base, config.adapter, config.pooling, config.head, tokenised.families)
    restore_weights(checkpoint.part("encoder."), encoder)
    encoder.eval()
    if form.truncate_dim is not None:
        expected = _truncated_scores(encoder, form.truncate_dim, tokenised)
    routed = config.adapter.routes or config.head.routes
    write_model(
        encoder,
        fresh,
        Routing.of(tokenised, table or FamilyTable()) if routed else None,
        prompts=prompts,
        dtype=dtype,
        truncate_dim=form.truncate_dim,
        reference=reference_of_base,
    )
    scores = score_folder(fresh, validation, tokenised, prompts)
    if not abs(scores.accuracy - expected.accuracy) <= tolerance:
        raise ExportError(
            f"the exported model has an accuracy of {scores.accuracy:.4f}; it must be within "
            f"{tolerance:.3f} of the trial's, {expected.accuracy:.4f}; it was left in {fresh}"
        )
    figures, chosen_by = expected, None
    if test is not None:
        figures, chosen_by = score_folder(fresh, test.text, test.tokenised, prompts), expected
        pairs = pairs_by_language(test.tokenised)
        reference, untouched = test.reference, test.untouched
    text = card(
        config,
        figures,
        trusted(fresh),
        routed,
        dtype=str(dtype).removeprefix("torch."),
        pairs=pairs,
        reference=reference,
        untouched=untouched,
        chosen_by=chosen_by,
        comparison=() if test is None else test.comparison,
        prompts=prompts,
        pivot=tokenised.languages[tokenised.pivot],
        facts=Facts(
            form.truncate_dim or encoder.out,
            train_pairs,
            datasets,
            license_of(config.base),
            whole=reference_of_base is None,
            tested=test is not None,
        ),
    )
    (fresh / "README.md").write_text(text, encoding="utf-8")
    replace_folder(fresh, folder)
    return scores


def _reference(config: TrialConfig) -> str:
    """What the base of a trial is found by, where only what was trained is to be written.

    Raises:
        ValueError: what was trained are weights of the base's own, or the base is an adapter.
    """
    if config.adapter.trains_base:
        raise ValueError(
            f"--adapters is 'peft', but the adapter {config.adapter.kind!r} of this trial trained "
            f"the base's own weights; it must be 'merged'"
        )
    return base_reference(config.base)


def _truncated_scores(encoder: Encoder, kept: int, tokenised: TokenisedCorpus) -> Scores:
    """Score the first dimensions of the embeddings.

    Raises:
        ValueError: there are no more dimensions than these.
    """
    if not 1 <= kept < encoder.out:
        raise ValueError(
            f"--truncate-dim is {kept}; it must be less than the {encoder.out} dimensions of the "
            f"embedding"
        )
    emb_BE = encode(encoder, tokenised, tokenised.present(), Ranks())
    return score(torch.nn.functional.normalize(emb_BE[:, :kept], dim=-1), tokenised)


def replace_folder(fresh: Path, folder: Path) -> None:
    """Give a folder its name, in place of the one that has it, which is removed."""
    old = folder.with_name(folder.name + ".old.new")  # removed with what is half written
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.replace(old)
    fresh.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_folder(folder: Path, device: str = "cpu") -> SentenceTransformer:
    """Load an exported folder as a user would; its own file, where it has one, is trusted."""
    return SentenceTransformer(str(folder), device=device, trust_remote_code=trusted(folder))


def score_folder(
    folder: Path, corpus: Corpus, tokenised: TokenisedCorpus, prompts: Prompts | None = None
) -> Scores:
    """Score a sentence-transformers folder on sentences given as text.

    Args:
        prompts: where those of the pivot and of the others differ, the pivot's is named to
            ``encode``; any other one must be its default.
    """
    model = load_folder(folder, "cuda" if torch.cuda.is_available() else "cpu")
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    routed = (folder / "routing.json").exists()
    vectors = []
    for language in corpus.languages:
        texts = corpus.texts(language)
        if texts:
            told = {"task": language} if routed else {}
            if prompts and prompts.differ and language == tokenised.languages[tokenised.pivot]:
                told["prompt_name"] = "pivot"
            vectors.append(model.encode(texts, batch_size=64, show_progress_bar=False, **told))
    emb_BE = np.concatenate(vectors).astype(np.float32)
    return score(torch.from_numpy(emb_BE), tokenised)


def pairs_by_language(corpus: TokenisedCorpus) -> dict[str, int]:
    """Rows of each language that the pivot has too: what it is scored on."""
    present = corpus.lengths > 0
    return {
        name: int((present[index] & present[corpus.pivot]).sum())
        for index, name in enumerate(corpus.languages)
        if index != corpus.pivot
    }
