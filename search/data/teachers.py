"""What other models make of the sentences: teachers, and encoders that find negatives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from components.base.errors import quiet_loading
from components.base.locate import is_adapter, locate
from components.base.remote_code import code_elsewhere, unpinned_revision
from components.other_model import OtherModel
from search.data.corpus import Corpus
from search.data.tokens import Sentences
from search.runtime.randomness import random_state, set_random_state

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SENTENCES_A_CALL = 64
# Which may name code to run.
SETTINGS_FILES = ("config.json", "tokenizer_config.json")


class Teachers:
    """Embeddings of the sentences to train on by other models, each computed once.

    Args:
        corpus: the sentences as text.
        pivot: the language whose sentence stands for a row.
    """

    def __init__(self, corpus: Corpus, pivot: str, device: torch.device | str = "cpu") -> None:
        self._corpus = corpus
        self._pivot = pivot
        self._device = device
        self._rows: dict[OtherModel, Tensor] = {}
        self._models: dict[OtherModel, SentenceTransformer] = {}
        self._seen: dict[OtherModel, dict[tuple[int, int], Tensor]] = {}

    def rows(self, model: OtherModel) -> Tensor:
        """A teacher's unit vectors (R, W) of the rows: of the pivot's sentence or, where there is
        none, that of the first language there.
        """
        if model not in self._rows:
            texts = self._corpus.first_texts(self._pivot)
            self._rows[model] = embed(load_teacher(model, self._device), texts)
        return self._rows[model]

    def sentences(self, model: OtherModel, sentences: Sentences) -> Tensor:
        """A model's unit vectors (B, W) of some sentences."""
        keys = list(zip(sentences.language.tolist(), sentences.row.tolist(), strict=True))
        seen = self._seen.setdefault(model, {})
        new = [key for key in keys if key not in seen]
        if new:
            if model not in self._models:
                self._models[model] = load_teacher(model, self._device)
            texts = self._corpus.lookup(*np.asarray(new).T)
            seen.update(zip(new, embed(self._models[model], texts), strict=True))
        return torch.stack([seen[key] for key in keys])


def load_teacher(model: OtherModel, device: torch.device | str = "cpu") -> SentenceTransformer:
    """Load a sentence-transformers model, or any transformers model with mean pooling.

    Raises:
        ValueError: it cannot be loaded, or would run code or read pickles without consent.
    """
    try:
        whole = (Path(model.name) / "modules.json").exists()
        source = model.name if whole else locate(model.name)
    except ValueError as error:  # which takes it for the base's model
        raise ValueError(str(error).removeprefix("base.model ")) from error
    if not whole and is_adapter(Path(source)):
        raise ValueError(
            f"is {model.name!r}, a PEFT adapter without its base; it must be a whole model: merge "
            f"the adapter (peft's merge_and_unload), save that and name its folder"
        )
    fault = _without_consent(model, source)
    if fault:
        raise ValueError(fault)
    # Imported here: it takes a second, in every worker, and few searches need it.
    from sentence_transformers import SentenceTransformer

    random = random_state()  # a trial that loads a model must not differ from one that need not
    try:
        with quiet_loading("sentence_transformers"), quiet_loading("transformers"):
            return SentenceTransformer(
                source,
                device=str(device),
                revision=model.revision,
                trust_remote_code=model.trust_remote_code,
                model_kwargs={} if model.allow_pickle else {"use_safetensors": True},
            )
    except Exception as error:  # from OSError to the libraries' own
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise ValueError(f"{model.name!r} cannot be loaded: {reason.strip()}") from error
    finally:
        set_random_state(random)


def _without_consent(model: OtherModel, source: str) -> str:
    """What loading a model would do that was not agreed to; empty where all of it was."""
    folder = Path(source)
    if model.trust_remote_code:
        fault = unpinned_revision(source, model.revision)
        if fault:
            return f"is {model.name!r}, whose revision {fault}"
        files = [file for name in SETTINGS_FILES for file in sorted(folder.rglob(name))]
        fault = code_elsewhere(source, {str(f.relative_to(folder)): _json(f) for f in files})
        if fault:
            return f"is {model.name!r}, which {fault}"
    modules = None if model.trust_remote_code else _json(folder / "modules.json")
    for module in modules if isinstance(modules, list) else ():
        kind = str(module.get("type", "")) if isinstance(module, dict) else ""
        if not kind.startswith("sentence_transformers."):
            return (
                f"is {model.name!r}, which runs code of its own ({kind}); read that code, and set "
                f"trust_remote_code: true beside it, or name another model"
            )
    if not model.allow_pickle:
        for pickle in sorted(folder.rglob("pytorch_model*.bin")):
            if not list(pickle.parent.glob("*.safetensors")):
                return (
                    f"is {model.name!r}, whose weights are in a pickle "
                    f"({pickle.relative_to(folder)}), which can hold code; save them as "
                    f"safetensors, or set allow_pickle: true beside it"
                )
    return ""


def _json(file: Path) -> object:
    """What a file holds; None where it is not there or no JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def embed(model: SentenceTransformer, texts: list[str]) -> Tensor:
    """Unit vectors (N, W), float32 on the CPU."""
    vectors = model.encode(
        texts, batch_size=SENTENCES_A_CALL, show_progress_bar=False, normalize_embeddings=True
    )
    return torch.from_numpy(np.asarray(vectors, dtype=np.float32))
