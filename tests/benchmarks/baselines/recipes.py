"""What a practitioner does in an afternoon, with stock sentence-transformers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, TaskType
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import (
    MSELoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.training_args import BatchSamplers

# Recipe -> the learning rates that are tried.
RATES: dict[str, tuple[float, ...]] = {
    "full fine-tuning": (5e-5, 1.5e-4, 5e-4),
    "LoRA, rank 16": (5e-4, 1.5e-3, 5e-3),
    "distillation": (5e-5, 1.5e-4, 5e-4),
}


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        name: a key of `RATES`.
        pairs: how many pairs it sees.
    """

    name: str
    rate: float
    base: str
    max_length: int
    batch_size: int
    pairs: int
    seed: int = 0


def train(
    recipe: Recipe, texts: Mapping[str, Sequence[str]], pivot: str, folder: Path
) -> SentenceTransformer:
    """Train as sentence-transformers' documentation shows it.

    Full fine-tuning and LoRA use `MultipleNegativesRankingLoss` without duplicates in a batch;
    distillation is that of Reimers and Gurevych (2020): the base itself is the teacher, and both
    sentences of a pair are brought to where it puts the pivot's.

    Args:
        texts: language -> its sentences; equal rows are translations.
        folder: for whatever the Trainer writes.
    """
    model = SentenceTransformer(recipe.base)
    model.max_seq_length = recipe.max_length
    if recipe.name == "LoRA, rank 16":
        # alpha is twice the rank and dropout .1, as in the documentation's example.
        model.add_adapter(
            LoraConfig(task_type=TaskType.FEATURE_EXTRACTION, r=16, lora_alpha=32, lora_dropout=0.1)
        )
    distils = recipe.name == "distillation"
    data = draw_pairs(texts, pivot, recipe.pairs, recipe.seed)
    columns: dict[str, list[object]] = {
        "anchor": [texts[pivot][row] for _, row in data],
        "positive": [texts[language][row] for language, row in data],
    }
    if distils:
        labels = model.encode(list(texts[pivot]), show_progress_bar=False)
        columns["label"] = [labels[row].tolist() for _, row in data]
    use_gpu = torch.cuda.is_available()
    SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(folder),
            use_cpu=not use_gpu,
            bf16=use_gpu,
            num_train_epochs=1,  # of the pairs of all passes
            per_device_train_batch_size=recipe.batch_size,
            batch_sampler=BatchSamplers.BATCH_SAMPLER if distils else BatchSamplers.NO_DUPLICATES,
            learning_rate=recipe.rate,
            warmup_steps=0.1,
            seed=recipe.seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict(columns),
        loss=MSELoss(model) if distils else MultipleNegativesRankingLoss(model),
    ).train()
    return model


def draw_pairs(
    texts: Mapping[str, Sequence[str]], pivot: str, count: int, seed: int
) -> list[tuple[str, int]]:
    """Whole passes over all pairs, each in an order of its own, cut after so many.

    Returns:
        Language and row of each pair's other sentence.
    """
    every = [(name, row) for name in texts if name != pivot for row in range(len(texts[pivot]))]
    drawn: list[tuple[str, int]] = []
    order = random.Random(seed)
    while len(drawn) < count:
        drawn += order.sample(every, len(every))
    return drawn[:count]
