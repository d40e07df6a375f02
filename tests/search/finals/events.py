"""Events of a small made-up search."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from search.events.types import (
    EpochDone,
    Event,
    ModelScored,
    SplitScores,
    TrialEnded,
    TrialStarted,
)

ROWS = 200
VALUES: dict[str, Any] = {"training": {"seed": 7}}


def trained(
    trial: int,
    accuracy: float,
    *,
    repeat: int = 0,
    parameters: int = 100,
    added: int | None = None,
    state: str = "finished",
) -> list[Event]:
    """A trial, or a run of it with another seed, from its start to its end."""
    return [
        TrialStarted(trial=trial, repeat=repeat, reference=not trial, values=VALUES),
        EpochDone(
            trial=trial, repeat=repeat, epoch=1, loss=1.0, accuracy=accuracy,
            by_language={"de": accuracy, "ko": accuracy}, seconds=1.0,
            trainable_parameters=parameters, added_parameters=added, start="tokens", began=0.0,
            ended=1.0,
        ),
        TrialEnded(trial=trial, repeat=repeat, state=state),
    ]  # fmt: skip


def split_scores(shares: Mapping[str, float], seed: int = 0) -> SplitScores:
    """Scores with a share of the rows found: the first in an order that the seed makes."""
    order = random.Random(seed).sample(range(ROWS), ROWS)
    found, accuracies = {}, {}
    for language, share in shares.items():
        hits = set(order[: round(share * ROWS)])
        found[language] = "".join("2" if row in hits else "0" for row in range(ROWS))
        accuracies[language] = len(hits) / ROWS
    accuracy = sum(accuracies.values()) / len(accuracies)
    return SplitScores(accuracy=accuracy, by_language=accuracies, found=found)


def scored(
    trial: int | None, validation: float, test: float | None, *, repeat: int = 0, seed: int = 0
) -> ModelScored:
    """A model, the same in both languages."""
    parts = [
        None if share is None else split_scores({"de": share, "ko": share}, seed)
        for share in (validation, test)
    ]
    assert parts[0] is not None
    return ModelScored(trial=trial, repeat=repeat, validation=parts[0], test=parts[1])


def flat(*parts: Iterable[Event]) -> list[Event]:
    return [event for part in parts for event in part]
