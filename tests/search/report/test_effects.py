"""Effects of parameters: at an epoch that all reached, among the trials that have them."""

from __future__ import annotations

import math
from typing import Any

from search.events.outcomes import Outcomes
from search.events.types import EpochDone, Event, TrialEnded, TrialStarted, UntouchedScored
from search.report.effects import effects
from search.report.front import pareto_front
from search.report.section import ReportedRun, Section
from search.report.sections import effects as section
from search.report.sections import families, parameters, time

DRAWN: dict[int, dict[str, Any]] = {
    0: {"adapter": "none", "lr": 0.1},
    1: {"adapter": "none", "lr": 0.2},
    2: {"adapter": "lora", "adapter.lora.rank": 4, "lr": 0.3},
    3: {"adapter": "lora", "adapter.lora.rank": 8, "lr": 0.4},
    4: {"adapter": "lora", "adapter.lora.rank": 8, "lr": 0.5},
}
CURVES = {0: [0.5, 0.9], 1: [0.4], 2: [0.6], 3: [0.7, 0.8], 4: [0.9]}


def reports(trial: int, curve: list[float]) -> list[Event]:
    return [
        EpochDone(
            trial=trial, epoch=n, loss=1.0, accuracy=value, by_language={"gu": value, "de": 0.9},
            seconds=4.0 * n - 2, trainable_parameters=10 * trial, start="layer 2", lane=trial % 2,
            began=100.0 + trial, ended=100.0 + trial + 4.0 * n,
        )
        for n, value in enumerate(curve, start=1)
    ]  # fmt: skip


EVENTS: list[Event] = [
    event
    for trial, drawn in DRAWN.items()
    for event in (
        TrialStarted(trial=trial, reference=trial == 0, values={"pooling": {}}, drawn=drawn),
        *reports(trial, CURVES[trial]),
        TrialEnded(trial=trial, state="finished" if len(CURVES[trial]) == 2 else "stopped"),
    )
]


def test_an_effect_counts_the_trials_that_were_stopped_later() -> None:
    by_name = {effect.name: effect for effect in effects(Outcomes(EVENTS), 1)}
    adapter = by_name["adapter"]
    assert [(option.name, len(option.values)) for option in adapter.options] == [
        ("lora", 3),
        ("none", 2),
    ]
    assert math.isclose(adapter.size, (0.6 + 0.7 + 0.9) / 3 - 0.45)
    # Among the trials that finished, it would seem to harm.
    (late,) = [effect for effect in effects(Outcomes(EVENTS), 2) if effect.name == "adapter"]
    assert late.options[0].name == "none"


def test_a_parameter_is_compared_where_it_exists_and_many_numbers_by_halves() -> None:
    by_name = {effect.name: effect for effect in effects(Outcomes(EVENTS), 1)}
    rank = by_name["adapter.lora.rank"]
    assert {option.name: len(option.values) for option in rank.options} == {"8": 2, "4": 1}
    assert math.isclose(rank.size, 0.8 - 0.6) and not rank.is_repeated
    lr = by_name["lr"]
    assert [option.name for option in lr.options] == ["above 0.3", "up to 0.3"]
    assert math.isclose(lr.size, 0.8 - 0.5)


def test_the_section_shows_later_epochs_beside_the_first() -> None:
    made = section.describe(ReportedRun("run", Outcomes(EVENTS), max_epochs=2, rungs=[1]))
    (row,) = [row for row in made.rows if row[:2] == ["adapter", "none"]]
    assert row[2:] == [2, 0.45, 0.5, 1, 0.9]
    # Of the ranks, only trials with 8 went on.
    ranks = {row[1]: row[5:] for row in made.rows if row[0] == "adapter.lora.rank"}
    assert ranks == {"8": [1, 0.8], "4": [0, None]}
    shown: Any = made.traces[0]["y"]
    assert "adapter" not in (shown[-1],)
    assert "The largest effect seen in several trials: lr" in made.sentences[1]


def test_a_front_holds_what_no_cheaper_trial_equals() -> None:
    trials = Outcomes(EVENTS).by_trial.values()
    front = pareto_front(trials, lambda outcome: float(outcome.trainable_parameters or 0))
    assert [outcome.trial for outcome in front] == [0]
    front = pareto_front(trials, lambda outcome: -float(outcome.trainable_parameters or 0))
    assert [outcome.trial for outcome in front] == [4]


def test_a_front_is_above_the_base_without_training() -> None:
    def described(accuracy: float) -> Section:
        base = UntouchedScored(accuracy=accuracy, by_language={"gu": accuracy})
        return parameters.describe(ReportedRun("run", Outcomes([*EVENTS, base])))

    fronts = {value: described(value) for value in (0.5, 0.85, 0.9)}
    on = {value: [row[0] for row in made.rows if row[-1]] for value, made in fronts.items()}
    # Of the finished trials, 0 with 10 x 0 parameters has 0.9, and 3 has 0.8.
    assert on == {0.5: [0], 0.85: [0], 0.9: []}
    assert "than the untouched base (0.850)" in fronts[0.85].sentences[0]
    none = "No finished trial is better than the untouched base (0.900)."
    assert list(fronts[0.9].sentences) == [none]
    marks = [trace for trace in fronts[0.9].traces if trace["name"] == "untouched base"]
    assert [(mark["x"], mark["y"]) for mark in marks] == [([5.0], [0.9])]


def test_families_are_means_of_their_languages() -> None:
    run = ReportedRun("run", Outcomes(EVENTS), families={"gu": "indic", "de": "latin"})
    made = families.describe(run)
    # Trials 0 and 4 have the same score; the reference is the smaller one.
    assert made.rows == [["indic", "gu", 0.9], ["latin", "de", 0.9]]


def test_time_is_shared_out_and_savings_are_estimated() -> None:
    made = time.describe(ReportedRun("run", Outcomes(EVENTS), max_epochs=2, rungs=[1]))
    seconds = {row[0]: row[1] for row in made.rows}
    # Trials of one epoch train for 2 of the 4 s that they hold their lane, of two for 6 of 8.
    assert seconds["training and evaluation"] == 2 * 6 + 3 * 2
    assert seconds["setting up trials, checkpoints"] == (2 * 8 + 3 * 4) - (2 * 6 + 3 * 2)
    assert seconds["no trial, or an epoch that was cut short"] == 0
    assert seconds["saved by early stopping (estimate)"] == 3 * 2
    assert seconds["saved by stored states (estimate)"] == 0
