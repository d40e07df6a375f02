"""The exact number of parameters that a trial trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from components.base import Base
from components.encoder import assemble, trainable_parameters
from components.other_model import OtherModel
from search.settings.trial import TrialConfig


def count_parameters(
    skeleton: Base, trial: TrialConfig, families: Sequence[str], others: Mapping[OtherModel, int]
) -> int:
    """Exact number of parameters that a trial trains, from its modules on the meta device.

    Args:
        families: of the run's languages.
        others: widths of the embeddings of further models.

    Raises:
        SettingError: a setting does not fit the base.
    """
    with torch.device("meta"):
        encoder = assemble(skeleton, trial.adapter, trial.pooling, trial.head, families)
        try:
            widths = {model.name: others[model] for model in trial.teachers}
            loss = trial.loss.build(trial.head.out(skeleton.width), widths)
            return trainable_parameters(encoder) + trainable_parameters(loss)
        finally:
            encoder.close()
