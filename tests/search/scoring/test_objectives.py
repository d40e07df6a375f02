"""One number for all languages, by hand; and what a search is told of it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from components.context import Context
from components.errors import SettingError
from search.scoring.objective import AnyObjective
from search.scoring.settings import Scoring
from search.settings.sections import SearchSettings

VALUES = {"de": 0.9, "fr": 0.7, "zh": 0.5, "gu": 0.1, "pa": 0.3}
FAMILIES = {"de": "latin", "fr": "latin", "zh": "cjk", "gu": "indic", "pa": "indic", "en": "latin"}


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("mean", 2.5 / 5),
        ("worst_language", 0.1),
        ("worst_family", 0.2),
        ("mean_of_families", (0.8 + 0.5 + 0.2) / 3),
        ({"kind": "weighted", "weights": {"gu": 3.0, "zh": 0.0}}, (0.9 + 0.7 + 0.3 + 0.3) / 6),
    ],
)
def test_by_hand(objective: Any, expected: float) -> None:
    scoring = Scoring.model_validate({"objective": objective})
    assert scoring.value(VALUES, FAMILIES) == pytest.approx(expected, abs=1e-12)


def test_where_less_is_better_the_worst_language_has_the_largest_value() -> None:
    scoring = Scoring.model_validate({"metric": "xsim", "objective": "worst_language"})
    assert scoring.value(VALUES, FAMILIES) == -0.9


def test_a_name_stands_for_the_kind() -> None:
    settings = SearchSettings.model_validate({"metric": "csls", "objective": "worst_family"})
    full = {"metric": {"kind": "csls"}, "objective": {"kind": "worst_family"}}
    assert settings == SearchSettings.model_validate(full)
    assert SearchSettings().scoring.is_mean_accuracy
    assert not settings.scoring.is_mean_accuracy


@pytest.mark.parametrize(
    ("weights", "wrong"), [({"ko": 2.0}, "names 'ko'"), ({"de": 0.0, "gu": 0.0}, "0 for every")]
)
def test_weights_must_fit_the_languages(weights: dict[str, float], wrong: str) -> None:
    objective = TypeAdapter(AnyObjective).validate_python({"kind": "weighted", "weights": weights})

    def fault_for(*languages: str) -> SettingError | None:
        return objective.incompatibility(Context(8, False, ["latin"], 1, languages=languages))

    fault = fault_for("de", "gu")
    assert fault is not None and fault.key == "search.objective.weights" and wrong in str(fault)
    assert fault_for(*weights, "fr") is None
