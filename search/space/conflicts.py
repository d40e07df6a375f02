"""Settings that can have no effect beside each other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from components.encoder import misfit
from components.errors import SettingError
from components.matryoshka import too_wide
from search.settings.trial import TrialConfig


def conflict(
    config: TrialConfig, *, width: int, causal: bool, families: Sequence[str], workers: int
) -> SettingError | None:
    """Why a setting of a trial can have no effect; None where each has one.

    Args:
        width: dimensions of the base.
        causal: whether the base is a decoder.
        families: of the run's languages.
        workers: of a lane.
    """
    fault = misfit(config.adapter, config.pooling, config.head, families, causal=causal)
    if fault:
        return fault
    mined = config.negatives.mining() is not None
    if mined and not config.loss.takes_negatives:
        return SettingError(
            "negatives.kind",
            f"is {config.negatives.kind!r}, but the loss {config.loss.kind!r} compares with none",
            "be 'none', or the loss another",
        )
    if config.loss.needs_negatives and not mined:
        return SettingError(
            "loss.kind",
            f"is {config.loss.kind!r} with mined negatives, but negatives.kind is "
            f"{config.negatives.kind!r}",
            "be another, or negatives.kind 'mined'",
        )
    if not config.training.gather and workers == 1:
        return SettingError(
            "training.gather",
            "is false, but a lane has one worker, which gathers nothing",
            "be true, or lane.workers more than 1",
        )
    return too_wide(config.training.matryoshka or (), config.head.out(width))


def facets(trial: TrialConfig, section: str, width: int) -> Hashable:
    """All that `conflict` asks of one section of a trial, beside what its sentences name.

    Two values of a section with the same facets are at odds with the same other sections.

    Args:
        width: dimensions of the base.
    """
    pooling, head, loss, training = trial.pooling, trial.head, trial.loss, trial.training
    asked: dict[str, Hashable] = {
        "pooling": (pooling.needs_bidirectional, pooling.only_scales),
        "head": (head.ignores_scale, head.routes, head.out(width)),
        "adapter": trial.adapter.routes,
        "loss": (loss.takes_negatives, loss.needs_negatives),
        "negatives": trial.negatives.mining() is not None,
        "training": (training.gather, tuple(training.matryoshka or ())),
    }
    return asked[section]
