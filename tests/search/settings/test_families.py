"""Families of search settings: what a variant says of itself, and what a file may leave out."""

import pytest
from pydantic import ValidationError

from components.config import variants
from search.settings import negatives, sampler, scheduler
from search.settings.interface import NegativesConfig, SamplerConfig, SchedulerConfig
from search.settings.sections import SearchSettings

SAMPLERS = variants(sampler.__name__, SamplerConfig)
SCHEDULERS = variants(scheduler.__name__, SchedulerConfig)


def test_the_families_are_what_stands_in_their_folders() -> None:
    assert list(variants(negatives.__name__, NegativesConfig)) == ["mined", "none"]
    assert list(SAMPLERS) == ["grid", "random", "tpe"]
    assert list(SCHEDULERS) == ["asha", "none"]


@pytest.mark.parametrize("section", [{}, {"sampler": {}, "scheduler": {}}])
def test_a_section_without_a_kind_has_the_default_one(section: dict[str, object]) -> None:
    settings = SearchSettings.model_validate(section)
    assert (settings.sampler.kind, settings.scheduler.kind) == ("tpe", "asha")


def test_settings_beside_no_kind_are_those_of_the_default_kind() -> None:
    section = {"sampler": {"seed": 3}, "scheduler": {"max_epochs": 27, "reduction": 2}}
    settings = SearchSettings.model_validate(section)
    assert settings.sampler.model_dump() == {"kind": "tpe", "seed": 3, "startup_trials": 8}
    assert settings.scheduler.model_dump() == {
        "kind": "asha", "max_epochs": 27, "reduction": 2, "grace_epochs": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "rungs", "epochs"),
    [
        # 8 trials: all do 2 epochs, 4 of them 2 more, and 2 of them the last.
        ("asha", [2, 4], (8 * 2 + 4 * 2 + 2 * 1) / 8),
        ("none", [], 5),
    ],
)
def test_rungs_and_the_epochs_of_an_average_trial(
    kind: str, rungs: list[int], epochs: float
) -> None:
    settings = {"max_epochs": 5, "grace_epochs": 2, "reduction": 2}
    config = SCHEDULERS[kind].model_validate(settings)
    assert isinstance(config, SchedulerConfig)
    assert (config.rungs(), config.expected_epochs()) == (rungs, epochs)


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_the_first_rung_is_not_behind_the_last_epoch(kind: str) -> None:
    section = {"scheduler": {"kind": kind, "max_epochs": 2, "grace_epochs": 3}}
    with pytest.raises(ValidationError, match="is 3; it must be at most max_epochs, 2"):
        SearchSettings.model_validate(section)
