"""Values drawn independently of results."""

from typing import Literal

from search.settings.interface import OptunaSampler, SamplerConfig


class Random(SamplerConfig):
    """Every value is drawn evenly from its domain (Bergstra and Bengio, 2012)."""

    kind: Literal["random"] = "random"

    def optuna_sampler(self) -> OptunaSampler:
        return OptunaSampler("RandomSampler")
