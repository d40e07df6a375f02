"""The same sixteen trials with sentence-transformers' Trainer.

P0 as its documentation shows a hyperparameter search: Optuna behind
`SentenceTransformerTrainer.hyperparameter_search`, the model made anew by ``model_init``.

P1 the same made as strong as it can be on a CPU: the base is loaded once; the pairs of a batch are
sorted by length, which changes no loss; the encoder runs them in runs of few tokens, each padded to
its own longest. ``gradcache`` does that by `CachedMultipleNegativesRankingLoss` with
``mini_batch_num_tokens``, which costs a second forward pass, ``runs`` by a module of our own that
does without.

P2 as Ray's guide shows Tune with Train: a driver function a trial, which fits a `TorchTrainer`,
whose worker loads the base and trains as P0 does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import optuna
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from numpy.typing import NDArray
from peft import LoraConfig
from safetensors.torch import load_file
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel, TrainerCallback

from components.base.locate import locate
from search.scoring.interface import Comparison
from search.scoring.metric.accuracy import Accuracy as AccuracyMetric
from search.scoring.neighbours import Direction
from tests.benchmarks.search_speed.workload import (
    LANGUAGES,
    LORA,
    MAX_LENGTH,
    PIVOT,
    SCALE,
    Trial,
    Workload,
)

Strength = Literal["default", "gradcache", "runs"]
RUN_TOKENS = 512  # of P1: faster than 1024 and 2048 on small, as fast as 256
STOCK_POOLING = {"mean": "mean", "max": "max", "last": "lasttoken"}


class AttentionPooling(nn.Module):
    """A learned query over padded token states."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query_HK = nn.Parameter(torch.zeros(heads, width // heads))

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        """Add the sentence's embedding to what the transformer gave."""
        values_BLHK = features["token_embeddings"].unflatten(-1, self.query_HK.shape)
        scores_BLH = (values_BLHK * self.query_HK).sum(-1) / self.query_HK.shape[1] ** 0.5
        pad_BL1 = ~features["attention_mask"].bool().unsqueeze(-1)
        weights_BLH = scores_BLH.masked_fill(pad_BL1, -torch.inf).softmax(dim=1)
        pooled_BHK = (values_BLHK * weights_BLH.unsqueeze(-1)).sum(1)
        features["sentence_embedding"] = pooled_BHK.flatten(1)
        return features


class Runs(nn.Module):
    """Encodes a batch in runs of few tokens, sorted by length; the embeddings are the same."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.inner = nn.ModuleList(modules)

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add the embeddings of the sentences."""
        length_B = features["attention_mask"].sum(1)
        order = torch.argsort(length_B, descending=True)
        parts, start = [], 0
        while start < len(order):
            longest = int(length_B[order[start]])
            chosen = order[start : start + max(1, RUN_TOKENS // longest)]
            out = {
                name: features[name][chosen, :longest] for name in ("input_ids", "attention_mask")
            }
            for module in self.inner:
                out = module(out)
            parts.append(out["sentence_embedding"])
            start += len(chosen)
        features["sentence_embedding"] = torch.cat(parts)[torch.argsort(order)]
        return features


def transformer(workload: Workload) -> Transformer:
    """Load the base."""
    return Transformer(
        locate(workload.base),
        max_seq_length=MAX_LENGTH,
        model_kwargs={"dtype": torch.float32},
    )


def build(workload: Workload, number: int, base: Transformer, runs: bool) -> SentenceTransformer:
    """The model of a trial with the fresh weights that every system starts from."""
    trial = workload.trials[number]
    width = base.get_embedding_dimension()
    pooling: nn.Module
    if trial.pooling["kind"] in STOCK_POOLING:
        pooling = Pooling(width, STOCK_POOLING[trial.pooling["kind"]])
    else:
        pooling = AttentionPooling(width, trial.pooling["heads"])
    sizes = [width, *([trial.hidden] if trial.hidden else []), workload.size.width]
    dense = [
        Dense(a, b, activation_function=nn.Identity() if b == sizes[-1] else nn.ReLU())
        for a, b in zip(sizes, sizes[1:], strict=False)
    ]
    weights = load_file(workload.folder / f"weights-{number}.safetensors")
    heads = [name for name in weights if name.startswith("head.") and name.endswith("weight")]
    for module, name in zip(dense, heads_in_order(heads), strict=True):
        module.linear.weight.data.copy_(weights[name])
        module.linear.bias.data.copy_(weights[name.replace("weight", "bias")])
    base.requires_grad_(False)
    if trial.rank:
        adapt(base.model, trial, weights)
    modules: list[nn.Module] = [base, pooling]
    if runs:
        modules = [_Front(base), Runs(base, pooling)]
    return SentenceTransformer(modules=[*modules, *dense, Normalize()], device="cpu")


def heads_in_order(names: list[str]) -> list[str]:
    """First the layer that leads into the hidden one."""
    return sorted(names, key=lambda name: "down" in name)


class _Front(nn.Module):
    """What tokenises for `Runs`; the encoding is left to that."""

    def __init__(self, base: Transformer) -> None:
        super().__init__()
        self._base = [base]

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_base"][0], name)

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        return features


def adapt(model: PreTrainedModel, trial: Trial, weights: dict[str, Tensor]) -> None:
    """Add a LoRA."""
    depth = model.config.num_hidden_layers
    first = 0 if trial.last == "all" else depth - int(trial.last)
    model.add_adapter(
        LoraConfig(
            r=trial.rank,
            lora_alpha=2 * trial.rank,
            target_modules=[
                f"layers.{layer}.self_attn.{name}" for layer in range(first, depth) for name in LORA
            ],
        )
    )
    stored = {name.rpartition("layers/")[2]: value for name, value in weights.items()}
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.copy_(stored[name.rpartition("layers.")[2].replace(".", "/")])
            parameter.requires_grad_(True)


class Accuracy(SentenceEvaluator):  # type: ignore[misc]  # mypy skips the library
    """Top-1 retrieval against the pivot, both ways, every sentence encoded once."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        table = pq.read_table(workload.folder / "validation.parquet").to_pydict()
        self.texts = {name: table[name] for name in LANGUAGES}
        self.primary_metric = "accuracy"
        self.last = 0.0

    def __call__(self, model: SentenceTransformer, *_: Any, **__: Any) -> dict[str, float]:
        texts = [text for column in self.texts.values() for text in column]
        emb_BE = model.encode(texts, convert_to_tensor=True, show_progress_bar=False)
        rows = len(self.texts[PIVOT])
        by_language = dict(zip(self.texts, emb_BE.split(rows), strict=True))
        pivot = by_language[PIVOT]

        def same(part: slice) -> NDArray[np.bool_]:
            return np.eye(rows, dtype=np.bool_)[part]

        scores = [
            AccuracyMetric().measure(
                Comparison(Direction(side, pivot, same), Direction(pivot, side, same))
            )
            for name, side in by_language.items()
            if name != PIVOT
        ]
        self.last = float(np.mean(scores))
        return {"accuracy": self.last}


def pairs(workload: Workload, sort: bool) -> Dataset:
    """The pairs of all epochs, batch by batch."""
    table = pq.read_table(workload.folder / "pairs.parquet").to_pydict()
    rows = list(zip(table["anchor"], table["positive"], strict=True))
    size = workload.size.batch_size
    if sort:
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        rows = [row for batch in batches for row in sorted(batch, key=lambda row: -len(row[1]))]
    return Dataset.from_dict({"anchor": [a for a, _ in rows], "positive": [b for _, b in rows]})


def arguments(workload: Workload, lr: float) -> SentenceTransformerTrainingArguments:
    """The Trainer's settings: its own, but for what the list of trials fixes."""
    return SentenceTransformerTrainingArguments(
        output_dir=str(workload.folder / "trainer"),
        use_cpu=True,
        num_train_epochs=1,  # of all pairs, end to end
        per_device_train_batch_size=workload.size.batch_size,
        batch_sampler=lambda dataset, **options: DefaultBatchSampler(
            SequentialSampler(dataset),
            **{k: options[k] for k in ("batch_size", "drop_last", "valid_label_columns")},
        ),
        learning_rate=lr,
        weight_decay=0.0,
        eval_strategy="steps",
        eval_steps=workload.steps,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def loss_of(strength: Strength) -> Callable[[SentenceTransformer], nn.Module]:
    """The loss, as the Trainer asks for it."""
    if strength == "gradcache":
        return lambda model: CachedMultipleNegativesRankingLoss(
            model, scale=SCALE, mini_batch_num_tokens=RUN_TOKENS
        )
    return lambda model: MultipleNegativesRankingLoss(model, scale=SCALE)


def hyperparameter_search(workload: Workload, strength: Strength) -> list[dict[str, Any]]:
    """P0 and P1: the Trainer's own search, over the list in its order; a row a trial."""
    logging.disable(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows: list[dict[str, Any]] = []
    evaluator = Accuracy(workload)
    kept = transformer(workload) if strength != "default" else None
    model: list[SentenceTransformer] = []

    def model_init(trial: optuna.Trial | None = None) -> SentenceTransformer:
        if kept is not None and model and hasattr(kept.model, "peft_config"):
            kept.model.delete_adapter("default")
        number = 0 if trial is None else trial.number
        base = transformer(workload) if kept is None else kept
        model[:] = [build(workload, number, base, runs=strength == "runs")]
        return model[0]

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Notes what each trial took."""

        def on_train_end(self, *_: Any, **__: Any) -> None:
            rows.append({"accuracy": evaluator.last} | spent(marks))

    marks = mark()
    trainer = SentenceTransformerTrainer(
        args=arguments(workload, 1e-3),
        train_dataset=pairs(workload, sort=strength != "default"),
        evaluator=evaluator,
        model_init=model_init,
        loss=loss_of(strength),
        callbacks=[Clock()],
    )
    trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": workload.trials[trial.number].lr},
        compute_objective=lambda metrics: metrics["eval_accuracy"],
        n_trials=len(workload.trials),
        direction="maximize",
        backend="optuna",
        pruner=optuna.pruners.NopPruner(),  # the list is fixed: every trial runs to its end
    )
    return rows


def mark() -> dict[str, float]:
    """The time now."""
    return {"cpu": time.process_time(), "wall": time.perf_counter()}


def spent(since: dict[str, float]) -> dict[str, float]:
    """Time since the last mark, which is moved to now."""
    now = mark()
    row = {f"{name}_s": now[name] - since[name] for name in now}
    since.update(now)
    return row


def train_alone(workload: Workload, number: int) -> dict[str, float]:
    """One trial as P0 trains it, the base loaded for it."""
    logging.disable(logging.WARNING)
    trial = workload.trials[number]
    evaluator = Accuracy(workload)
    model = build(workload, number, transformer(workload), runs=False)
    SentenceTransformerTrainer(
        model=model,
        args=arguments(workload, trial.lr),
        train_dataset=pairs(workload, sort=False),
        evaluator=evaluator,
        loss=loss_of("default")(model),
    ).train()
    return {"accuracy": evaluator.last}


def tune(workload: Workload) -> list[dict[str, Any]]:
    """P2: a driver function a trial, which fits a TorchTrainer."""
    import ray
    from ray import train
    from ray import tune as ray_tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    def train_loop(config: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        train.report(train_alone(workload, config["number"]))

    def driver(config: dict[str, Any]) -> None:
        TorchTrainer(
            train_loop,
            train_loop_config=config,
            scaling_config=train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
            run_config=train.RunConfig(
                name=f"trial-{config['number']}",
                storage_path=str(workload.folder / "train"),
                callbacks=[TuneReportCallback()],
            ),
        ).fit()

    ray.init(num_cpus=2, log_to_driver=False, logging_level="error")
    results = ray_tune.Tuner(
        ray_tune.with_resources(driver, {"CPU": 0.1}),
        param_space={"number": ray_tune.grid_search(list(range(len(workload.trials))))},
        tune_config=ray_tune.TuneConfig(max_concurrent_trials=1),
        run_config=ray_tune.RunConfig(
            name="p2", storage_path=str(workload.folder / "tune"), verbose=0
        ),
    ).fit()
    found = sorted(results, key=lambda result: result.config["number"])
    failed = next((result.error for result in found if result.error), None)
    if failed:
        raise failed
    ray.shutdown()
    return [{"accuracy": r.metrics["accuracy"], "wall_s": r.metrics["time_total_s"]} for r in found]
