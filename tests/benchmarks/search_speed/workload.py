"""What every system runs: a base, sentences, and sixteen trials with the same fresh weights.

All of it is written into one folder, from which each system reads it as its users would: the base
as a model folder, the sentences as parquet. The pairs are laid down in the order in which trials
meet them, so that every system trains on the same batches. A row holds a sentence of the pivot and
one translation, none of them twice, so that no pair of a batch is a false negative of another.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

from components.base import BaseConfig, load
from components.encoder import assemble
from search.data.cldr import Split, phrases
from search.data.corpus import Corpus
from search.data.pairs import Pairs
from search.data.tokens import TokenisedCorpus, tokenise
from search.settings.trial import TrialConfig

LANGUAGES = ("en", "zh", "ar", "ko", "de", "gu", "pa")
PIVOT = "en"
# Tokens a sentence, as the list of cures has them.
TOKENS = {"zh": 8, "ar": 8, "en": 14, "ko": 22, "de": 34, "gu": 38, "pa": 38}
SPREAD = 0.45  # of the logarithm of a sentence's tokens
WORDS = 2000
MAX_LENGTH = 256
SCALE = 20.0
LORA = ["q_proj", "k_proj", "v_proj", "o_proj"]


@dataclass(frozen=True)
class Size:
    """How large a workload is.

    Attributes:
        rows: pairs to train on; an epoch draws some of them.
        last: the last layers that the five trials with adapters on some layers adapt.
    """

    rows: int
    validation_rows: int
    pairs_per_epoch: int
    epochs: int
    batch_size: int
    width: int
    last: tuple[int, ...]


MEDIUM = Size(5000, 16, 512, 1, 64, 256, (2, 4, 4, 6, 8))
SIZES = {
    "small": Size(2000, 100, 512, 3, 64, 256, (1, 2, 2, 3, 4)),
    "medium": MEDIUM,
    "long": replace(MEDIUM, epochs=4),
}


@dataclass(frozen=True)
class Trial:
    """One of the sixteen."""

    name: str
    pooling: dict[str, Any] = field(default_factory=lambda: {"kind": "mean"})
    hidden: int | None = None  # of an MLP head; None for one linear layer
    rank: int = 0  # of an adapter; 0 for none
    last: int | str = "all"
    lr: float = 1e-3

    @property
    def group(self) -> str:
        """What a trial can share with others."""
        if self.rank:
            return "all layers" if self.last == "all" else "last layers"
        return "frozen, tokens" if self.pooling["kind"] == "attention" else "frozen"

    def case(self, width: int) -> dict[str, Any]:
        """The same in a space file."""
        head: dict[str, Any] = {"kind": "linear", "width": width}
        if self.hidden:
            head = {"kind": "mlp", "width": width, "hidden": self.hidden}
        adapter: dict[str, Any] = {"kind": "none"}
        if self.rank:
            adapter = {"kind": "lora", "targets": LORA, "rank": self.rank}
            adapter |= {"last_layers": self.last}
        return {
            "case": self.name,
            "pooling": self.pooling,
            "head": head,
            "adapter": adapter,
            "optimizer": {"lr": self.lr},
        }


def trials(size: Size) -> list[Trial]:
    """Six frozen without parameters in the pooling, three that learn over tokens, seven LoRA."""
    attention = {"kind": "attention", "heads": 1}
    return [
        Trial("mean"),
        Trial("mean, higher rate", lr=3e-3),
        Trial("mean, MLP", hidden=512),
        Trial("last", {"kind": "last"}),
        Trial("max", {"kind": "max"}),
        Trial("max, MLP", {"kind": "max"}, hidden=512),
        Trial("attention", attention),
        Trial("attention, 4 heads", {"kind": "attention", "heads": 4}),
        Trial("attention, MLP", attention, hidden=512),
        *(
            Trial(f"LoRA {rank} on the last {last}", rank=rank, last=last)
            for last, rank in zip(size.last, (8, 8, 16, 8, 8), strict=True)
        ),
        Trial("LoRA 8 on all", rank=8),
        Trial("LoRA 16 on all", rank=16, lr=3e-3),
    ]


@dataclass(frozen=True)
class Workload:
    """A folder that systems run on."""

    folder: Path

    @cached_property
    def _about(self) -> dict[str, Any]:
        about: dict[str, Any] = json.loads((self.folder / "workload.json").read_text())
        return about

    @property
    def base(self) -> str:
        """Of every trial."""
        return str(self._about["base"])

    @cached_property
    def size(self) -> Size:
        """How large it is."""
        return Size(**self._about["size"])

    @property
    def trials(self) -> list[Trial]:
        """The sixteen."""
        return trials(self.size)

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return self.size.pairs_per_epoch // self.size.batch_size

    def config(self, trial: Trial) -> TrialConfig:
        """A trial's config, as its case in the space file gives it."""
        case = trial.case(self.size.width)
        case["optimizer"] = OPTIMIZER | case["optimizer"]
        return TrialConfig.of(self._shared() | case)

    def _shared(self) -> dict[str, Any]:
        size = self.size
        return {
            "base": {"model": self.base, "max_length": MAX_LENGTH, "dtype": "float32"},
            "loss": {"kind": "mnrl", "scale": SCALE},
            "optimizer": OPTIMIZER,
            "training": {
                "batch_size": size.batch_size,
                "pairs_per_epoch": size.pairs_per_epoch,
            },
        }

    def space(self) -> dict[str, Any]:
        """The space file of the whole list, on the sentences that the others evaluate with."""
        return self._shared() | {
            "search": {
                "concurrency": 1,
                "sampler": {"kind": "grid"},
                "scheduler": {"kind": "none", "max_epochs": self.size.epochs},
                "finalists": None,  # the others train each trial once
            },
            "lane": {"cpus": 1},
            "data": {
                "train": str(self.folder / "train.parquet"),
                "validation": str(self.folder / "validation.parquet"),
                "languages": list(LANGUAGES),
                "pivot": PIVOT,
                "test_share": 0,  # of those to validate with, the others put none aside
            },
            "cases": [trial.case(self.size.width) for trial in self.trials],
        }

    def corpora(self, tokenize: Any) -> tuple[TokenisedCorpus, TokenisedCorpus]:
        """The sentences, tokenised."""
        train, validation = (
            Corpus.of(pq.read_table(self.folder / f"{name}.parquet").to_pydict())
            for name in ("train", "validation")
        )
        return tokenise(train, PIVOT, tokenize), tokenise(validation, PIVOT, tokenize)


# One that Hugging Face's Trainer has too: AdamW, a rate that falls linearly, no decay.
OPTIMIZER: dict[str, Any] = {"weight_decay": 0.0, "warmup": 0.0, "schedule": "linear"}


def make(name: str, folder: Path) -> Workload:
    """Write the workload of a size into an empty folder."""
    size = SIZES[name]
    folder.mkdir(parents=True)
    base = "builtin:tiny"
    if name != "small":
        base = str(folder / "base")
        make_decoder(folder / "base", layers=24, width=512)
    train, validation = (_phrases if name == "small" else invented)(size)
    pq.write_table(pa.table(train), folder / "train.parquet")
    pq.write_table(pa.table(validation), folder / "validation.parquet")
    (folder / "workload.json").write_text(json.dumps({"base": base, "size": asdict(size)}))
    workload = Workload(folder)
    loaded = load(BaseConfig(model=base, max_length=MAX_LENGTH, dtype="float32"))
    corpus, _ = workload.corpora(loaded.tokenize)
    _write_pairs(workload, corpus, train)
    for number, trial in enumerate(workload.trials):
        config = workload.config(trial)
        torch.manual_seed(config.training.seed)
        encoder = assemble(loaded, config.adapter, config.pooling, config.head, corpus.families)
        save_file(dict(encoder.state_dict()), folder / f"weights-{number}.safetensors")
        encoder.close()
    return workload


def make_decoder(folder: Path, *, layers: int, width: int) -> None:
    """A random decoder whose tokens are the words t0, t1, ..."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=WORDS + 2,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=max(1, width // 128),
        head_dim=64,
        max_position_embeddings=MAX_LENGTH,
        pad_token_id=0,
    )
    Qwen3Model(config).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of the words t0, t1, ..."""
    vocabulary = {"<pad>": 0, "<unk>": 1} | {f"t{i}": i + 2 for i in range(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="right",
        model_max_length=MAX_LENGTH,
    )


def _scattered(columns: dict[str, list[str]]) -> dict[str, list[str | None]]:
    """Of each row, the pivot and one other language in turn."""
    others = [name for name in LANGUAGES if name != PIVOT]
    return {
        name: [
            text if name == PIVOT or others[row % len(others)] == name else None
            for row, text in enumerate(column)
        ]
        for name, column in columns.items()
    }


def _phrases(size: Size) -> tuple[dict[str, Any], dict[str, Any]]:
    """Phrases of the built-in corpus."""
    found = []
    splits: list[tuple[Split, int]]
    splits = [("train", size.rows), ("validation", size.validation_rows)]
    for split, rows in splits:
        columns = phrases(split, 4 * rows, 0, LANGUAGES)
        kept: list[int] = []
        seen: set[str] = set()
        for row, texts in enumerate(zip(*columns.values(), strict=True)):
            if len(kept) < rows and not seen & set(texts):
                kept.append(row)
                seen.update(texts)
        found.append({name: [column[row] for row in kept] for name, column in columns.items()})
    return _scattered(found[0]), found[1]


def invented(size: Size) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ciphers: a sentence is drawn once, and each language has its own words and its own length.

    Every language spells a word of the original as a run of its own tokens, more of them where the
    language takes more tokens a sentence.
    """
    rng = np.random.default_rng(0)
    cipher = {name: rng.permutation(WORDS) for name in LANGUAGES}
    columns: dict[str, list[str]] = {name: [] for name in LANGUAGES}
    for _ in range(size.rows + size.validation_rows):
        stretch = rng.lognormal(-(SPREAD**2) / 2, SPREAD)
        original = rng.integers(0, WORDS, MAX_LENGTH)
        for name, mean in TOKENS.items():
            count = int(np.clip(round(stretch * mean), 2, MAX_LENGTH - 1))
            # Position p of this language stands for a place of the original.
            places = np.arange(count) * TOKENS[PIVOT] // mean
            words = cipher[name][(original[places] + np.arange(count)) % WORDS]
            columns[name].append(" ".join(f"t{word}" for word in words))
    train = {name: columns[name][: size.rows] for name in LANGUAGES}
    validation = {name: columns[name][size.rows :] for name in LANGUAGES}
    return _scattered(train), validation


def _write_pairs(workload: Workload, corpus: TokenisedCorpus, train: dict[str, Any]) -> None:
    """The pairs of all epochs, batch by batch."""
    size = workload.size
    texts = list(train.values())
    sides: dict[str, list[str]] = {"anchor": [], "positive": []}
    training = workload.config(workload.trials[0]).training
    pairs = Pairs(corpus, size.pairs_per_epoch, training.language_temperature, training.seed)
    for epoch in range(size.epochs):
        for batch in pairs.epoch(epoch, size.batch_size):
            for name, side in (("anchor", batch.anchor), ("positive", batch.positive)):
                found = zip(side.language, side.row, strict=True)
                sides[name] += [texts[language][row] for language, row in found]
    pq.write_table(pa.table(sides), workload.folder / "pairs.parquet")
