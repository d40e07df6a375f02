"""Which keys a space file may hold, and where: for faults that name them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel

from search.settings.problems import nearest
from search.space.domains import CASES
from search.space.run_config import FIXED_SECTIONS, RunConfig
from search.space.source import KeyPath

# What other tools call a setting -> the key that it has here.
SYNONYMS = {
    "learning_rate": "optimizer.lr",
    "lr_scheduler": "optimizer.schedule",
    "lr_scheduler_type": "optimizer.schedule",
    "warmup_ratio": "optimizer.warmup",
    "warmup_steps": "optimizer.warmup",
    "max_grad_norm": "optimizer.clip_norm",
    "grad_clip": "optimizer.clip_norm",
    "epochs": "search.scheduler.max_epochs",
    "num_epochs": "search.scheduler.max_epochs",
    "n_epochs": "search.scheduler.max_epochs",
    "num_train_epochs": "search.scheduler.max_epochs",
    "max_t": "search.scheduler.max_epochs",
    "grace_period": "search.scheduler.grace_epochs",
    "reduction_factor": "search.scheduler.reduction",
    "num_trials": "search.trials",
    "n_trials": "search.trials",
    "num_samples": "search.trials",
    "max_concurrent_trials": "search.concurrency",
    "train_batch_size": "training.batch_size",
    "per_device_train_batch_size": "training.batch_size",
    "mini_batch_size": "training.chunk_tokens",
    "gradient_checkpointing": "training.activation_checkpointing",
    "matryoshka_dims": "training.matryoshka",
    "seed": "training.seed",
    "random_seed": "training.seed",
    "base_model": "base.model",
    "model_name": "base.model",
    "model_name_or_path": "base.model",
    "max_seq_length": "base.max_length",
    "dataset": "data.train",
    "train_file": "data.train",
    "validation_file": "data.validation",
    "eval_file": "data.validation",
    "num_workers": "lane.workers",
    "lora": "adapter",
    "peft": "adapter",
    "lora_r": "adapter.rank",
    "lora_rank": "adapter.rank",
    "r": "adapter.rank",
    "lora_alpha": "adapter.alpha",
    "lora_dropout": "adapter.dropout",
    "target_modules": "adapter.targets",
    "pooling_mode": "pooling",
    "projection": "head",
    "criterion": "loss",
    "hard_negatives": "negatives",
}


def legal_keys(values: object, path: KeyPath, origin: KeyPath) -> list[str]:
    """List the keys that are legal in the section at a path.

    Args:
        values: of the file as a whole.
        path: of the section; empty for the file itself.
        origin: where in the source the key in question stands.
    """
    if not path:
        if origin[0] == CASES:
            return [key for key in RunConfig.model_fields if key not in FIXED_SECTIONS]
        return [CASES if key == "case" else key for key in RunConfig.model_fields]
    model: type[BaseModel] = RunConfig
    node = values
    for step in path:
        node = node[step] if isinstance(node, dict | list) else None  # type: ignore[index]
        field = model.model_fields.get(str(step))
        models = [] if field is None else list(_models(field.annotation))
        if not models:
            return []
        kind = node.get("kind") if isinstance(node, dict) else None
        named = [m for m in models if _kind(m) == kind and "kind" in m.model_fields]
        model = (named or models)[0]
    return list(model.model_fields)


def suggest_key(path: KeyPath, legal: Sequence[str]) -> str:
    """Suggest the key that was meant by an unknown one: "; did you mean 'x'?", or nothing."""
    word = str(path[-1])
    meant = SYNONYMS.get(word.lower(), "")
    section, _, name = meant.rpartition(".")
    if section and path[:-1] == tuple(section.split(".")):
        return f"; did you mean {name!r}?"
    elsewhere = meant or _outermost(_places().get(word, set()))
    if elsewhere and elsewhere != ".".join(map(str, path)):
        return f"; did you mean {elsewhere!r}?"
    return nearest(word, legal)


def _outermost(keys: Collection[str]) -> str:
    """The key of the fewest sections, if there is one alone."""
    fewest = min((key.count(".") for key in keys), default=0)
    outermost = [key for key in keys if key.count(".") == fewest]
    return outermost[0] if len(outermost) == 1 else ""


@cache
def _places() -> dict[str, set[str]]:
    """Name of a setting -> dotted keys of all settings of that name."""
    places: dict[str, set[str]] = {}
    for key in _dotted(RunConfig):
        places.setdefault(key.rpartition(".")[2], set()).add(key)
    return places


def _dotted(model: type[BaseModel], section: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if section:
            yield f"{section}{name}"
        for below in _models(field.annotation):
            yield from _dotted(below, f"{section}{name}.")


def _kind(model: type[BaseModel]) -> object:
    field = model.model_fields.get("kind")
    return field.default if field else None


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    """Find the models that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated):
        for part in get_args(annotation):
            yield from _models(part)
