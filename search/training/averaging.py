"""Several runs of a trial, which differ by their seeds, as one model: the mean of their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from components.averaging import mean_of
from search.settings.trial import TrialConfig
from search.training.checkpoint import Checkpoint

_ENCODER, _ADAPTER = "encoder.", "encoder.adapter."


def average(config: TrialConfig, runs: Sequence[Checkpoint]) -> tuple[TrialConfig, Checkpoint]:
    """Average the encoders of runs of one trial.

    Runs that begin at the same weights of a base often end where their mean scores better than each
    of them, for the cost of one. Where parts begin at random (a head with a hidden layer), it may
    score far worse, so it has to be scored like any other model.

    Source: Wortsman et al., 2022, Model soups: averaging weights of multiple fine-tuned models
    improves accuracy without increasing inference time, section 2 (uniform soup).

    Args:
        config: of the trial.
        runs: after their last epoch.

    Returns:
        Its config, in which an adapter may have another rank, and its weights, without those of the
        loss; of one run, that run as it is.

    Raises:
        ValueError: the runs are of different models.
    """
    first, *others = runs
    if not others:
        return config, first
    encoders = [run.part(_ENCODER).weights for run in runs]
    for weights in encoders[1:]:
        if _shapes(weights) != _shapes(encoders[0]):
            raise ValueError("their checkpoints are of different models")
    inside = _ADAPTER.removeprefix(_ENCODER)
    adapter, adapted = config.adapter.average([run.part(_ADAPTER).weights for run in runs])
    averaged = {
        f"{_ENCODER}{name}": mean_of([weights[name] for weights in encoders])
        for name in encoders[0]
        if not name.startswith(inside)
    }
    averaged |= {f"{_ADAPTER}{name}": weight for name, weight in adapted.items()}
    seconds = sum(run.seconds for run in runs)
    checkpoint = replace(first.begin_anew(), weights=averaged, seconds=seconds)
    return config.model_copy(update={"adapter": adapter}), checkpoint


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}
