"""A trained trial -> a folder that sentence-transformers loads."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as stock
from torch import nn
from transformers import PreTrainedTokenizerBase

from components import languages, ragged
from components.base import Base, load
from components.encoder import Encoder, assemble
from components.interface import Head, Pooling, StockModule
from components.languages import FamilyTable
from search import deployed
from search.card import card
from search.checkpoint import Checkpoint, restore_weights
from search.data.corpus import Corpus
from search.data.prompts import Prompts
from search.data.tokens import TokenisedCorpus
from search.evaluation.retrieval import score
from search.trial import Scores, TrialConfig

CUSTOM_FILE = "isogloss_modules"
# How far, in accuracy, a folder may be from its trial. In half precision every layer rounds, and a
# folder rounds in more places than its trial, whose pooling and head are float32: it may differ in
# so many sentences of the smallest language, if that is more.
TOLERANCE = 0.001
HALF_TOLERANCE = 0.02
HALF_SENTENCES = 2
# Texts that some tokenizers drop whole.
DROPPED = (" ", "\t", "\n", "\x00", "\u00ad", "\u200b", "\ufeff", "\u0301", "\ue000", "\ufffd")
# What sentence-transformers renders each text with (and a prompt, as a first message), for
# tokenizers that make no tokens of an empty text: the text as it is, or one padding token.
EMPTY_AS_PAD = "{{ messages | map(attribute='content') | join or pad_token }}"
_FORWARD = {"method": "forward", "method_output_name": "last_hidden_state"}
_CUSTOM_HEADER = '''"""What this model needs beside the stock modules. Made by Isogloss."""

from __future__ import annotations

import json
import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules.module import Module
from sentence_transformers.base.modules.transformer import Transformer
from torch import Tensor, nn
from torch.nn import functional as F

Pooling = Head = nn.Module
'''


class ExportError(RuntimeError):
    """The folder does not do what the trained encoder did; one sentence says how."""


@dataclass(frozen=True)
class Routing:
    """How the exported model finds the family of a sentence.

    Attributes:
        families: those of the run's languages, in the order that components know them by.
        languages: code -> family.
        words: first word of a letter's Unicode name -> family.
    """

    families: tuple[str, ...]
    languages: dict[str, str]
    words: dict[str, str]

    @classmethod
    def of(cls, corpus: TokenisedCorpus, table: FamilyTable) -> Routing:
        """The routing of a run."""
        languages = dict(zip(corpus.languages, corpus.family_of_language, strict=True))
        return cls(corpus.families, languages, table.words())


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
    prompts: Prompts | None = None,
) -> Scores:
    """Write an encoder as a sentence-transformers folder, load it again and hold it to its score.

    An adapter is merged into the base or, where it is one of families, saved beside it as PEFT
    folders; the folder needs neither the base nor PEFT. The base is saved in the dtype that it was
    run in, or in float32 (``base.save_dtype``), all else in float32. The folder appears under its
    name only once it has proved equal.

    Args:
        folder: must not exist.
        validation, tokenised: the sentences that ``expected`` was measured on, as text and tokens.
        table: leads bare text to its family; the one there is, by default.
        reference, untouched: scores of the reference trial and of the base without training, for
            the model card.
        prompts: what stands before each sentence in ``tokenised``; nothing by default.

    Returns:
        The scores of the folder as sentence-transformers loads it.

    Raises:
        ExportError: the loaded model scores otherwise.
    """
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    base = load(config.base, device)
    trained_in = base.model.dtype
    dtype = torch.float32 if config.base.save_dtype == "float32" else trained_in
    pairs = pairs_by_language(tokenised)
    tolerance = TOLERANCE
    if trained_in != torch.float32:
        fewest = min((count for count in pairs.values() if count), default=1)
        tolerance = max(HALF_TOLERANCE, HALF_SENTENCES / fewest)
    encoder = assemble(base, config.adapter, config.pooling, config.head, tokenised.families)
    restore_weights(checkpoint.part("encoder."), encoder)
    encoder.eval()
    routed = config.adapter.routes or config.head.routes
    write_model(
        encoder,
        fresh,
        Routing.of(tokenised, table or FamilyTable()) if routed else None,
        prompts=prompts,
        dtype=dtype,
    )
    text = card(
        config,
        expected,
        trusted(fresh),
        routed,
        dtype=str(dtype).removeprefix("torch."),
        pairs=pairs,
        reference=reference,
        untouched=untouched,
        prompts=prompts,
    )
    (fresh / "README.md").write_text(text, encoding="utf-8")
    scores = score_folder(fresh, validation, tokenised, prompts)
    if not abs(scores.accuracy - expected.accuracy) <= tolerance:
        raise ExportError(
            f"the exported model has an accuracy of {scores.accuracy:.4f}; it must be within "
            f"{tolerance:.3f} of the trial's, {expected.accuracy:.4f}; it was left in {fresh}"
        )
    fresh.replace(folder)
    return scores


def write_model(
    encoder: Encoder,
    folder: Path,
    routing: Routing | None = None,
    *,
    prompts: Prompts | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write an encoder, merging its adapter, where it can be, into the base for good.

    Args:
        routing: where a component treats families differently.
        prompts: what ``encode`` is to put before sentences; nothing by default.
        dtype: of the base's weights as they are saved, that of the base or a wider one.
    """
    base = encoder.base
    dtype = dtype or base.model.dtype
    if dtype != base.model.dtype:
        base.model.to("cpu", dtype)  # before the merge, which would round
    scratch = folder / "scratch"
    encoder.adapter.folders(scratch / "adapters")
    encoder.adapter.merge()
    own = [c for c in (encoder.pooling, encoder.head) if c.stock() is None]
    # In the scratch folder, where Python may leave its bytecode.
    drops = drops_texts(base.tokenizer)
    custom = custom_file(own, scratch, routing) if own or routing or drops else None
    modules = [
        _transformer(base, scratch, custom, routing),
        *_modules(encoder.pooling, "PackedPooling", base.width, custom),
        *_modules(encoder.head, "RoutedHead", encoder.out, custom),
        stock.Normalize(),
    ]
    model = SentenceTransformer(
        modules=modules,
        device="cpu",
        similarity_fn_name="cosine",
        prompts=dict(prompts.named) if prompts else None,
        default_prompt_name=prompts.default if prompts else None,
    )
    # Not earlier, nor the whole module: making a model gives all its modules one dtype, and heads
    # and adapters of families are saved as they were trained, in float32.
    model[0].model.to(dtype)
    model.save(str(folder), create_model_card=False)
    if custom is not None:
        shutil.copy(custom.__file__, folder)
    shutil.rmtree(scratch)


def _transformer(base: Base, scratch: Path, custom: Any, routing: Routing | None) -> Any:
    base.model.save_pretrained(scratch)
    # A base that chats has a template of its own, which no sentence was trained with.
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.chat_template = None
    modalities: dict[str, dict[str, str]] = {"text": _FORWARD}
    if custom is None and not tokenizer("")["input_ids"]:
        tokenizer.chat_template = EMPTY_AS_PAD
        modalities["message"] = _FORWARD | {"format": "flat"}
    tokenizer.save_pretrained(scratch)
    kind = stock.Transformer
    if custom is not None:
        kind = custom.PaddedTransformer if routing is None else custom.RoutedTransformer
    # Heads are float32 and their input must be: a base saved in less is widened as it is loaded.
    module = kind(
        str(scratch),
        max_seq_length=base.max_length,
        model_kwargs={"dtype": torch.float32},
        modality_config=modalities,
        module_output_name="token_embeddings",
        # Our modules need to know which token is whose, also where flash attention needs no pads.
        unpad_inputs=None if custom is None else False,
    )
    if routing is not None:
        module.route(asdict(routing), scratch / "adapters")
    return module.to("cpu")


def drops_texts(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether some texts that are not empty have no token, not even a special one."""
    return not all(tokenizer(list(DROPPED))["input_ids"])


def _modules(component: Pooling | Head, wrapper: str, width: int, custom: Any) -> list[Any]:
    """A component as sentence-transformers' own modules or, where it has none, as ours."""
    described = component.stock()
    if described is not None:
        return [_stock(part) for part in described]
    module = getattr(custom, wrapper)(describe(component), width)
    module.component.load_state_dict(
        {name: tensor.detach().cpu() for name, tensor in component.state_dict().items()}
    )
    return [module]


def _stock(described: StockModule) -> Any:
    arguments = dict(described.arguments)
    if "activation_function" in arguments:
        arguments["activation_function"] = getattr(nn, arguments["activation_function"])()
    module = getattr(stock, described.type)(**arguments)
    module.load_state_dict({name: t.detach().cpu() for name, t in described.weights.items()})
    return module


def describe(component: nn.Module) -> dict[str, Any]:
    """A component's class and its constructor's arguments, which are its attributes, as data."""
    arguments = {}
    for name in inspect.signature(type(component)).parameters:
        value = getattr(component, name)
        if isinstance(value, nn.ModuleList):
            value = [describe(part) for part in value]
        arguments[name] = list(value) if isinstance(value, tuple) else value
    return {"class": type(component).__name__, "arguments": arguments}


def custom_source(components: Sequence[Pooling | Head], routing: Routing | None) -> str:
    """The file that defines some components for people without this project."""
    kinds = dict.fromkeys(
        type(module)
        for component in components
        for module in component.modules()
        if type(module).__module__.startswith("components.")
    )
    parts: list[Any] = [deployed.rebuild, deployed.Rebuilt, deployed.PaddedTransformer]
    if any(isinstance(component, Pooling) for component in components):
        parts += [ragged.segment_softmax, ragged.segment_sum, ragged.States]
        parts += [deployed.PackedPooling]
    if any(isinstance(component, Head) for component in components):
        parts += [deployed.RoutedHead]
    if routing is not None:
        parts += [languages.family_of_text, deployed.RoutedTransformer]
    return "\n\n".join([_CUSTOM_HEADER, *map(inspect.getsource, [*parts, *kinds])])


def custom_file(components: Sequence[Pooling | Head], folder: Path, routing: Routing | None) -> Any:
    """Write that file and import it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{CUSTOM_FILE}.py"
    file.write_text(custom_source(components, routing), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(CUSTOM_FILE, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[CUSTOM_FILE] = module  # sentence-transformers saves a class by its module's name
    spec.loader.exec_module(module)
    return module


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
        texts: list[Any] = corpus.texts(language)
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


def trusted(folder: Path) -> bool:
    """Whether loading a folder runs a file of its own."""
    return (folder / f"{CUSTOM_FILE}.py").exists()
