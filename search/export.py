"""A trained trial -> a folder that sentence-transformers loads."""

from __future__ import annotations

import importlib.util
import inspect
import json
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.module import Module
from sentence_transformers.sentence_transformer import modules as stock
from torch import nn

from components import ragged
from components.base import Base, load
from components.encoder import Encoder, assemble
from components.interface import Pooling, StockModule
from search import deployed
from search.checkpoint import Checkpoint, restore_weights
from search.data.corpus import Corpus
from search.data.tokens import TokenisedCorpus
from search.evaluation.retrieval import score
from search.trial import Scores, TrialConfig

CUSTOM_FILE = "isogloss_modules"
# How far, in accuracy, a folder may be from its trial. A trial in half precision was itself rounded
# at every layer, which the folder, in float32, is not.
TOLERANCE = 0.001
HALF_TOLERANCE = 0.02
_CUSTOM_HEADER = '''"""What this model needs beside the stock modules. Made by Isogloss."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from sentence_transformers.base.modules.module import Module
from torch import Tensor, nn

Pooling = nn.Module
'''


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
) -> Scores:
    """Write an encoder as a sentence-transformers folder, load it again and hold it to its score.

    The adapter is merged into the base, whose weights are saved in float32; the folder needs
    neither the base nor PEFT. It appears under its name only once it has proved equal.

    Args:
        folder: must not exist.
        validation, tokenised: the sentences that ``expected`` was measured on, as text and tokens.

    Returns:
        The scores of the folder as sentence-transformers loads it.

    Raises:
        ExportError: the loaded model scores otherwise.
    """
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    base = load(config.base, device)
    tolerance = TOLERANCE if base.model.dtype == torch.float32 else HALF_TOLERANCE
    encoder = assemble(base, config.adapter, config.pooling, config.head)
    restore_weights(checkpoint.part("encoder."), encoder)
    encoder.eval()
    write_model(encoder, fresh)
    (fresh / "README.md").write_text(card(config, expected, trusted(fresh)), encoding="utf-8")
    scores = score_folder(fresh, validation, tokenised)
    if not abs(scores.accuracy - expected.accuracy) <= tolerance:
        raise ExportError(
            f"the exported model has an accuracy of {scores.accuracy:.4f}; it must be within "
            f"{tolerance} of the trial's, {expected.accuracy:.4f}; it was left in {fresh}"
        )
    fresh.replace(folder)
    return scores


def write_model(encoder: Encoder, folder: Path) -> None:
    """Write an encoder, merging its adapter into the base for good."""
    base = encoder.base
    encoder.adapter.merge()
    pooling = encoder.pooling.stock()
    head = encoder.head.stock()
    assert head is not None, "every head of this family has stock modules"
    custom = None if pooling is not None else custom_source(encoder.pooling)
    folder.mkdir(parents=True)
    modules = [
        _transformer(base, folder / "base"),
        *(_pooling(encoder.pooling, custom, folder) if custom else map(_stock, pooling or [])),
        *map(_stock, head),
        stock.Normalize(),
    ]
    model = SentenceTransformer(modules=modules, device="cpu", similarity_fn_name="cosine")
    model.save(str(folder), create_model_card=False)
    shutil.rmtree(folder / "base")
    if custom is not None:
        (folder / f"{CUSTOM_FILE}.py").write_text(custom, encoding="utf-8")


def _transformer(base: Base, scratch: Path) -> Any:
    base.model.save_pretrained(scratch)
    base.tokenizer.save_pretrained(scratch)
    # Heads are float32 and their input must be: a base saved in less is widened as it is loaded.
    module = stock.Transformer(
        str(scratch), max_seq_length=base.max_length, model_kwargs={"dtype": torch.float32}
    )
    return module.to("cpu")


def _stock(described: StockModule) -> Any:
    arguments = dict(described.arguments)
    if "activation_function" in arguments:
        arguments["activation_function"] = getattr(nn, arguments["activation_function"])()
    module = getattr(stock, described.type)(**arguments)
    module.load_state_dict({name: t.detach().cpu() for name, t in described.weights.items()})
    return module


def custom_source(pooling: Pooling) -> str:
    """The file that defines a pooling for people without this project."""
    parts = (ragged.segment_softmax, ragged.segment_sum, ragged.States, type(pooling))
    sources = [inspect.getsource(part) for part in (*parts, deployed.PackedPooling)]
    return "\n\n".join([_CUSTOM_HEADER, *sources])


def _pooling(pooling: Pooling, source: str, folder: Path) -> list[Module]:
    """The pooling as the custom file defines it, with the trained weights."""
    file = folder / f"{CUSTOM_FILE}.py"
    file.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(CUSTOM_FILE, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[CUSTOM_FILE] = module  # sentence-transformers saves a class by its module's name
    spec.loader.exec_module(module)
    kind = type(pooling)
    arguments = {name: getattr(pooling, name) for name in inspect.signature(kind).parameters}
    packed = module.PackedPooling(kind.__name__, arguments)
    packed.pooling.load_state_dict({n: t.detach().cpu() for n, t in pooling.state_dict().items()})
    return [packed]


def load_folder(folder: Path, device: str = "cpu") -> SentenceTransformer:
    """Load an exported folder as a user would; its own file, where it has one, is trusted."""
    return SentenceTransformer(str(folder), device=device, trust_remote_code=trusted(folder))


def score_folder(folder: Path, corpus: Corpus, tokenised: TokenisedCorpus) -> Scores:
    """Score a sentence-transformers folder on sentences given as text."""
    model = load_folder(folder, "cuda" if torch.cuda.is_available() else "cpu")
    present = tokenised.present()
    columns = list(corpus.columns.values())
    texts: Sequence[Any] = [
        columns[language][row] for language, row in zip(present.language, present.row, strict=True)
    ]
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    emb_BE = model.encode(list(texts), batch_size=64, show_progress_bar=False)
    return score(torch.from_numpy(np.asarray(emb_BE, dtype=np.float32)), tokenised)


def trusted(folder: Path) -> bool:
    """Whether loading a folder runs a file of its own."""
    return (folder / f"{CUSTOM_FILE}.py").exists()


def card(config: TrialConfig, scores: Scores, custom: bool) -> str:
    """The folder's README: how to load it, how good it is, what it is made of."""
    trust = ", trust_remote_code=True" if custom else ""
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in scores.by_language.items())
    return f"""# Cross-lingual sentence embedder

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("best"{trust})
vectors = model.encode(["A sentence.", "Ein Satz."])
```

Top-1 retrieval accuracy against the pivot on the validation sentences, mean of both directions
(all languages: {scores.accuracy:.3f}):

| language | accuracy |
|---|---|
{rows}

Settings:

```json
{json.dumps(config.model_dump(), indent=2)}
```

Made by Isogloss.
"""
