"""A model of which values did well."""

from typing import ClassVar, Literal

from search.settings.interface import OptunaSampler, SamplerConfig


class Tpe(SamplerConfig):
    """The tree-structured Parzen estimator (Bergstra et al., 2011), multivariate and grouped.

    It learns from every trial that has reported, running ones too: two trials are compared at the
    last epoch that both have trained, and the share of the others that a trial beats is its value.
    """

    learns_from_results: ClassVar[bool] = True
    kind: Literal["tpe"] = "tpe"

    def optuna_sampler(self) -> OptunaSampler:
        return OptunaSampler(
            "TPESampler",
            {
                "n_startup_trials": self.startup_trials,
                "multivariate": True,
                "group": True,  # a parameter inside a choice exists only in some trials
                "constant_liar": True,  # lanes ask while others still train
            },
        )
