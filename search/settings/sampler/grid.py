"""Every combination once."""

from typing import ClassVar, Literal

from search.settings.interface import OptunaSampler, SamplerConfig


class Grid(SamplerConfig):
    """Every combination of options, once each, in the order of the space file."""

    default_trials: ClassVar[int | None] = None
    is_exhaustive: ClassVar[bool] = True
    kind: Literal["grid"] = "grid"

    def optuna_sampler(self) -> OptunaSampler:
        return OptunaSampler("RandomSampler")  # it is given every point, and draws none
