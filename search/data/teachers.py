"""What other models make of the sentences: teachers, and encoders that find negatives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from components.base.errors import quiet_loading
from components.base.locate import locate
from search.data.corpus import Corpus
from search.data.tokens import Sentences
from search.randomness import random_state, set_random_state

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SENTENCES_A_CALL = 64


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
        self._rows: dict[str, Tensor] = {}
        self._models: dict[str, SentenceTransformer] = {}
        self._seen: dict[str, dict[tuple[int, int], Tensor]] = {}

    def rows(self, name: str) -> Tensor:
        """A teacher's unit vectors (R, W) of the rows: of the pivot's sentence or, where there is
        none, that of the first language there.
        """
        if name not in self._rows:
            columns = list(self._corpus.columns.values())
            columns.insert(0, self._corpus.columns[self._pivot])
            rows = zip(*columns, strict=True)
            texts = [next(text for text in row if text is not None) for row in rows]
            self._rows[name] = embed(load_teacher(name, self._device), texts)
        return self._rows[name]

    def sentences(self, name: str, sentences: Sentences) -> Tensor:
        """A model's unit vectors (B, W) of some sentences."""
        columns = list(self._corpus.columns.values())
        keys = list(zip(sentences.language.tolist(), sentences.row.tolist(), strict=True))
        seen = self._seen.setdefault(name, {})
        new = [key for key in keys if key not in seen]
        if new:
            if name not in self._models:
                self._models[name] = load_teacher(name, self._device)
            texts = [str(columns[language][row]) for language, row in new]
            seen.update(zip(new, embed(self._models[name], texts), strict=True))
        return torch.stack([seen[key] for key in keys])


def load_teacher(name: str, device: torch.device | str = "cpu") -> SentenceTransformer:
    """Load a sentence-transformers model, or any transformers model with mean pooling.

    Raises:
        ValueError: it cannot be loaded.
    """
    # Imported here: it takes a second, in every worker, and few searches need it.
    from sentence_transformers import SentenceTransformer

    try:
        source = name if (Path(name) / "modules.json").exists() else locate(name)
    except ValueError as error:  # which takes it for the base's model
        raise ValueError(str(error).removeprefix("base.model ")) from error
    # A model of our own making may need the file it came with.
    own = (Path(source) / "isogloss_modules.py").exists()
    random = random_state()  # a trial that loads a model must not differ from one that need not
    try:
        with quiet_loading("sentence_transformers"):
            return SentenceTransformer(source, device=str(device), trust_remote_code=own)
    except Exception as error:  # from OSError to the libraries' own
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise ValueError(f"{name!r} cannot be loaded: {reason.strip()}") from error
    finally:
        set_random_state(random)


def embed(model: SentenceTransformer, texts: list[str]) -> Tensor:
    """Unit vectors (N, W), float32 on the CPU."""
    vectors = model.encode(
        texts, batch_size=SENTENCES_A_CALL, show_progress_bar=False, normalize_embeddings=True
    )
    return torch.from_numpy(np.asarray(vectors, dtype=np.float32))
