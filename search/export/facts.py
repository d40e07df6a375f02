"""What a model card tells beside scores and settings: how the model was made, and caveats."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, try_to_load_from_cache

from components.base import BaseConfig
from components.base.locate import locate
from search.settings.trial import Scores, TrainingConfig

PACKAGES = ("sentence-transformers", "transformers", "torch", "peft")
PARTS = (
    "- The folder holds what was trained only, as a PEFT adapter (`pip install peft`); the base is "
    "loaded from where `adapter_config.json` says."
)
_CODE = re.compile(r"[A-Za-z]{2,8}([_-][A-Za-z0-9]{1,8})*")


@dataclass(frozen=True)
class Facts:
    """What is known of a model beside its trial.

    Attributes:
        dimensions: of an embedding.
        train_pairs: pairs of sentences that were there to train on.
        datasets: names on the hub of what was trained on.
        whole: the folder holds the base; otherwise only what was trained.
        tested: the scores are of sentences that did not choose the model.
        license: of the base, as it is named on the hub; None where that is not known.
    """

    dimensions: int
    train_pairs: int | None = None
    datasets: tuple[str, ...] = ()
    license: str | None = None
    whole: bool = True
    tested: bool = False


def license_of(config: BaseConfig) -> str | None:
    """Read a base's license from the model card beside it, if there is one on this machine."""
    source = locate(config.model)
    found: object = Path(source) / "README.md"
    if not Path(source).is_dir():
        found = try_to_load_from_cache(source, "README.md", revision=config.revision)
    if not isinstance(found, str | Path) or not Path(found).is_file():
        return None
    try:
        value = ModelCard.load(found).data.license
    except (OSError, ValueError):  # a card without metadata, or with damaged ones
        return None
    return value if isinstance(value, str) else None


def results(scores: Scores, tested: bool) -> list[EvalResult]:
    """The accuracies as the hub keeps them: of all languages, and of each that has a code.

    Args:
        tested: as in `Facts`.
    """
    named: dict[str, tuple[str | None, float]] = {"all languages": (None, scores.accuracy)}
    named |= {
        name: (name, score) for name, score in scores.by_language.items() if _CODE.fullmatch(name)
    }
    return [
        EvalResult(
            task_type="sentence-similarity",
            task_name="Translation retrieval",
            dataset_type="parallel-sentences",
            dataset_name=f"Held-out sentences, {name}",
            dataset_config=code,
            dataset_split="test" if tested else "validation",
            metric_type="accuracy",
            metric_name="Top-1 retrieval accuracy, mean of both directions",
            metric_value=round(value, 4),
        )
        for name, (code, value) in named.items()
    ]


def fact_lines(facts: Facts, scores: Scores, pairs: int, training: TrainingConfig) -> list[str]:
    """Lines of Markdown: size, data, seed, versions; then what the scores do not say."""
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    lines = [] if facts.whole else [PARTS]
    lines += [f"- Dimensions of an embedding: {facts.dimensions}; unit vectors, compare by cosine."]
    if facts.train_pairs is not None:
        drawn = training.pairs_per_epoch
        sample = "" if drawn is None else f"; an epoch draws {drawn:,} of them"
        lines.append(f"- Pairs of sentences to train on: {facts.train_pairs:,}{sample}.")
    lines += [
        f"- Seed: {training.seed}. Versions: {versions}.",
        "",
        "How far to trust the scores:",
        "",
    ]
    if not facts.tested:
        lines.append(
            "- The same validation sentences chose this model among the trials of a search, so its "
            "scores on new sentences may be lower."
        )
    if pairs and scores.by_language:
        each = pairs / len(scores.by_language)
        # Both directions ask the same pairs, so they may count as one.
        spread = 100 * (0.25 / each) ** 0.5
        lines.append(
            f"- With about {each:.0f} pairs a language, the standard error of an accuracy is up to "
            f"{spread:.1f} points; smaller differences may be chance."
        )
    lines.append("- Retrieval among so few sentences is easier than among millions.")
    lines.append("- Languages that are not in the table were not scored.")
    return lines
