"""The dashboard for Grafana asks for metrics that a search gives."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from search.cluster import gauges
from search.events.outcomes import Outcomes
from search.events.types import EpochDone, TrialEnded, TrialStarted

DASHBOARD = Path(__file__).parents[3] / "docs" / "grafana" / "isogloss.json"


class Kept:
    """A gauge whose values stay here."""

    values: dict[tuple[str, ...], float]

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.name, self.keys = name, tag_keys
        assert description

    def set(self, value: float, tags: Mapping[str, str]) -> None:
        assert tuple(tags) == self.keys
        self.values[self.name, *tags.values()] = value


@pytest.fixture
def values(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, ...], float]:
    kept: dict[tuple[str, ...], float] = {}
    monkeypatch.setattr(Kept, "values", kept, raising=False)
    monkeypatch.setattr(gauges, "Gauge", Kept)
    return kept


def epoch(trial: int, number: int, accuracy: float) -> EpochDone:
    return EpochDone(
        trial=trial, epoch=number, loss=1.0, accuracy=accuracy, by_language={"gu": accuracy},
        seconds=2.0 * number, trainable_parameters=10, start="tokens", began=0.0, ended=1.0,
    )  # fmt: skip


def test_values_are_those_of_the_outcomes(values: dict[tuple[str, ...], float]) -> None:
    started = [TrialStarted(trial=n, reference=n == 0, values={}) for n in range(3)]
    ended = TrialEnded(trial=1, state="failed", error="no")
    done = [epoch(0, 1, 0.25), epoch(0, 2, 0.5), epoch(2, 1, 0.75)]
    shown = gauges.Gauges("r")
    shown.show(Outcomes(), wanted=2, placed=0, losses=0)
    assert ("isogloss_objective", "r", "best") not in values  # nothing is known of it yet
    for _ in range(2):
        shown.show(Outcomes([*started, *done, ended]), wanted=3, placed=2, losses=1)
    assert values == {
        ("isogloss_trials", "r", "running"): 2,
        ("isogloss_trials", "r", "stopped"): 0,
        ("isogloss_trials", "r", "finished"): 0,
        ("isogloss_trials", "r", "failed"): 1,
        ("isogloss_objective", "r", "best"): 0.75,
        ("isogloss_objective", "r", "reference"): 0.5,
        ("isogloss_accuracy", "r", "best", "gu"): 0.75,
        ("isogloss_accuracy", "r", "reference", "gu"): 0.5,
        ("isogloss_epochs", "r"): 3,
        ("isogloss_training_seconds", "r"): 6.0,
        ("isogloss_lanes", "r", "wanted"): 3,
        ("isogloss_lanes", "r", "placed"): 2,
        ("isogloss_losses", "r"): 2,
    }
    assert all(math.isfinite(value) for value in values.values())


def test_the_dashboard_asks_for_metrics_that_there_are(
    values: dict[tuple[str, ...], float],
) -> None:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    keys = {kept.name: kept.keys for kept in gauges.Gauges("r")._gauges.values()}
    asked = set()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            for name, labels in re.findall(r"ray_(isogloss_\w+)\{(.*?)\}", target["expr"]):
                asked.add(name)
                assert set(re.findall(r"(\w+)=", labels)) <= set(keys[name]), target["expr"]
    assert asked == set(keys)
    (run,) = [v for v in dashboard["templating"]["list"] if v["name"] == "run"]
    assert run["query"]["query"] == "label_values(ray_isogloss_trials, run)"


def test_the_panels_do_not_overlap() -> None:
    cells = set()
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert x < 24 and (x, y) not in cells, panel["title"]
                cells.add((x, y))
