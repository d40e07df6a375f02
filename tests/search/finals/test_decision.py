"""Which model is chosen, and what is said of the others."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from search.events.outcomes import Outcomes
from search.events.types import AVERAGED, Event, FinalsDecided, ModelScored
from search.finals.decision import decide
from search.finals.words import (
    NO_DIFFERENCE,
    against_best,
    describe_choice,
    describe_comparisons,
    describe_losses,
)
from search.settings.sections import SearchSettings
from tests.search.finals.events import ROWS, flat, scored, split_scores, trained

SETTINGS = {"finalists": {"count": 2, "seeds": 2}}
FAMILIES = {"de": "latin", "ko": "cjk"}


def search(
    *, parameters: tuple[int, int] = (100, 100), added: tuple[int | None, int | None] = (None, None)
) -> list[Event]:
    """A reference, and two finalists with two runs each."""
    runs = [trained(trial, 0.5, repeat=repeat) for trial in (1, 2) for repeat in (1, 2)]
    ahead = [
        trained(trial, accuracy, parameters=trained_ones, added=added_ones)
        for trial, accuracy, trained_ones, added_ones in zip(
            (1, 2), (0.7, 0.6), parameters, added, strict=True
        )
    ]
    return flat(trained(0, 0.2), *ahead, *runs)


def decided(events: list[Event], **settings: Any) -> FinalsDecided:
    search = SearchSettings.model_validate(SETTINGS | settings)
    found = decide(Outcomes(events), search, FAMILIES)
    assert found is not None
    return found


def beside() -> list[Event]:
    return [scored(0, 0.2, 0.2), scored(None, 0.1, 0.1)]


def test_the_mean_over_the_other_seeds_decides_not_the_score_in_the_search() -> None:
    # Trial 1 led the search, by luck; with other seeds it is behind.
    finals = [
        scored(1, 0.50, 0.5, repeat=1), scored(1, 0.52, 0.5, repeat=2),
        scored(2, 0.70, 0.8, repeat=1), scored(2, 0.74, 0.6, repeat=2),
    ]  # fmt: skip
    found = decided([*search(), *finals, *beside()])
    assert (found.trial, found.repeat, found.split) == (2, 2, "test")
    assert [row.trial for row in found.rows] == [2, 1, 0, None]
    best = found.rows[0]
    assert (best.validation, best.lowest, best.highest) == pytest.approx((0.72, 0.70, 0.74))
    assert best.measured.value == pytest.approx(0.7)
    assert best.measured.low < 0.7 < best.measured.high
    assert not found.tied


def test_the_test_sentences_choose_nothing() -> None:
    def with_test(one: float, other: float) -> FinalsDecided:
        finals = [
            scored(trial, validation, test, repeat=repeat)
            for trial, validation, test in ((1, 0.9, one), (2, 0.5, other))
            for repeat in (1, 2)
        ]
        return decided([*search(), *finals, *beside()])

    assert with_test(0.9, 0.1).trial == with_test(0.1, 0.9).trial == 1
    assert against_best(with_test(0.1, 0.9), 2) == "significantly better"
    assert "significantly worse" in next(iter(describe_comparisons(with_test(0.1, 0.9))))


def test_a_tie_goes_to_the_model_that_adds_fewer_parameters_to_the_base() -> None:
    finals = [
        scored(1, 0.60, 0.60, repeat=1, seed=1), scored(1, 0.61, 0.60, repeat=2, seed=2),
        scored(2, 0.59, 0.60, repeat=1, seed=3), scored(2, 0.60, 0.60, repeat=2, seed=4),
    ]  # fmt: skip
    cheap = decided([*search(parameters=(900, 100)), *finals, *beside()])
    assert (cheap.trial, cheap.tied) == (2, (2,))
    assert "100 instead of 900" in describe_choice(cheap)
    assert against_best(cheap, 1) == NO_DIFFERENCE
    said = list(describe_comparisons(cheap))
    assert [line.partition(" in ")[0] for line in said[1:4:2]] == [
        "worse than trial 1",
        "worse than the reference",
    ]
    dear = decided([*search(parameters=(100, 900)), *finals, *beside()])
    assert (dear.trial, dear.tied) == (1, (2,))
    # What is merged into the base costs nothing when the model is used, however much of it trains.
    merged = decided([*search(parameters=(900, 100), added=(0, 100)), *finals, *beside()])
    assert (merged.trial, merged.tied) == (1, (2,))
    lean = decided([*search(parameters=(100, 900), added=(100, 0)), *finals, *beside()])
    assert lean.trial == 2
    assert "adds fewer parameters to the base (0 instead of 100)" in describe_choice(lean)
    equal = decided([*search(parameters=(900, 100), added=(0, 0)), *finals, *beside()])
    assert equal.trial == 1, "the leader, where both cost the same"


def test_where_the_sentences_tell_two_apart_the_larger_model_wins() -> None:
    # The better one finds all that the other finds, and a few more: paired, that is no chance.
    finals = [
        scored(trial, share, share, repeat=repeat)
        for trial, share in ((1, 0.60), (2, 0.55))
        for repeat in (1, 2)
    ]
    found = decided([*search(parameters=(900, 100)), *finals, *beside()])
    assert (found.trial, found.tied) == (1, ())
    (runner_up, *_) = found.comparisons
    assert runner_up.other == "runner-up" and runner_up.is_significant
    assert runner_up.difference.value == pytest.approx(0.05)
    # One row in twenty is found by the better one alone: a share of a sample of 200.
    deviation = math.sqrt(0.05 * 0.95 / ROWS)
    for language in ("de", "ko"):
        found_in = runner_up.by_language[language]
        assert found_in.value == pytest.approx(0.05)
        assert found_in.low == pytest.approx(0.05 - 1.96 * deviation, abs=1.2 / ROWS)
        assert found_in.high == pytest.approx(0.05 + 1.96 * deviation, abs=1.2 / ROWS)


def test_a_language_that_loses_is_told_with_its_interval() -> None:
    def model(trial: int, repeat: int, de: float, ko: float) -> ModelScored:
        scores = split_scores({"de": de, "ko": ko})
        return ModelScored(trial=trial, repeat=repeat, validation=scores, test=scores)

    runs = [model(1, 1, 0.9, 0.1), model(1, 2, 0.9, 0.1), model(2, 1, 0.2, 0.2)]
    found = decided([*search(), *runs, *beside()])
    (line,) = describe_losses(found)
    value, low, high = re.findall(r"[+-]\d\.\d{3}", line)
    assert line == f"worse than the reference in ko ({value}, {low} to {high})"
    assert value == "-0.100" and float(low) < -0.1 < float(high) < 0
    # A journal of an earlier version has no such intervals.
    bare = [one.model_copy(update={"by_language": {}}) for one in found.comparisons]
    assert list(describe_losses(found.model_copy(update={"comparisons": tuple(bare)}))) == [
        "worse than the reference in ko (-0.100)"
    ]


def averaged(
    trial: int, validation: float, test: float, *, runs: tuple[int, ...] = (1, 2)
) -> ModelScored:
    """The average of a candidate's runs."""
    model = scored(trial, validation, test, repeat=AVERAGED)
    return model.model_copy(update={"averaged": runs})


def two_runs() -> list[ModelScored]:
    return [
        scored(1, 0.60, 0.5, repeat=1), scored(1, 0.64, 0.5, repeat=2),
        scored(2, 0.66, 0.6, repeat=1), scored(2, 0.70, 0.6, repeat=2),
    ]  # fmt: skip


def test_the_average_of_the_runs_stands_for_a_candidate_where_it_is_better() -> None:
    finals = [*two_runs(), averaged(1, 0.80, 0.7), averaged(2, 0.675, 0.9)]
    found = decided([*search(), *finals, *beside()])
    assert (found.trial, found.repeat) == (1, AVERAGED)
    best, behind = found.rows[:2]
    assert best.averaged and best.repeats == (1, 2)
    assert best.average == pytest.approx(0.80)
    assert (best.validation, best.lowest, best.highest) == pytest.approx((0.80, 0.60, 0.64))
    assert best.measured.value == pytest.approx(0.7)
    # The average of the other one is behind the mean of its runs, though not behind each.
    assert not behind.averaged
    assert behind.average == pytest.approx(0.675)
    assert behind.validation == pytest.approx(0.68)
    assert behind.measured.value == pytest.approx(0.6)
    assert "reaches 0.600 to 0.640 on the validation sentences, and the average of" in (
        describe_choice(found)
    )
    worse = decided([*search(), *two_runs(), averaged(2, 0.5, 0.9), *beside()])
    assert (worse.trial, worse.repeat) == (2, 2)
    assert "no more than they do by themselves (0.500), so the best" in describe_choice(worse)


def test_an_average_of_other_runs_or_one_that_is_not_wanted_counts_for_nothing() -> None:
    stale = [*search(), *two_runs(), averaged(1, 0.9, 0.9, runs=(1, 2, 3)), *beside()]
    assert decided(stale).trial == 2
    off = [*search(), *two_runs(), averaged(1, 0.9, 0.9), *beside()]
    assert decided(off).trial == 1
    assert decided(off, finalists={"count": 2, "seeds": 2, "average": False}).trial == 2


@pytest.mark.parametrize("ahead", [0, 1])
def test_floors_are_of_what_stands_for_the_reference_whatever_the_order(ahead: int) -> None:
    # The average of the reference raises its floors, which the average of trial 1 does not keep.
    both = [trained(0, 0.5 + 0.1 * (ahead == 0)), trained(1, 0.5 + 0.1 * (ahead == 1))]
    runs = [trained(trial, 0.5, repeat=repeat) for trial in (0, 1) for repeat in (1, 2)]
    finals = [unlike(0, repeat, 0.5, 0.5) for repeat in (1, 2)]
    finals += [unlike(1, repeat, 0.62, 0.62) for repeat in (1, 2)]
    for trial, de, ko in ((0, 0.6, 0.6), (1, 0.9, 0.55)):
        average = unlike(trial, AVERAGED, de, ko).model_copy(update={"averaged": (1, 2)})
        finals.append(average)
    found = decided([*flat(*both, *runs), *finals], no_language_below="reference")
    assert found.trial == 1 and found.repeat in (1, 2) and not found.violations
    assert {row.trial: row.averaged for row in found.rows} == {0: True, 1: False}


def test_an_average_that_breaks_a_floor_does_not_replace_runs_that_keep_it() -> None:
    average = ModelScored(
        trial=1, repeat=AVERAGED, averaged=(1, 2),
        validation=split_scores({"de": 0.9, "ko": 0.1}), test=split_scores({"de": 0.9, "ko": 0.1}),
    )  # fmt: skip
    runs = [unlike(1, 1, 0.4, 0.3), unlike(1, 2, 0.45, 0.3)]
    finals = [*runs, average, unlike(2, 1, 0.3, 0.25), unlike(0, 0, 0.2, 0.2)]
    assert decided([*search(), *finals]).repeat == AVERAGED
    found = decided([*search(), *finals], floors={"ko": 0.0})
    assert (found.trial, found.repeat, found.violations) == (1, 2, ())


def test_without_test_sentences_the_comparison_is_on_the_validation() -> None:
    finals = [scored(trial, 0.5, None, repeat=repeat) for trial in (1, 2) for repeat in (1, 2)]
    found = decided([*search(), *finals, scored(0, 0.2, None), scored(None, 0.1, None)])
    assert found.split == "validation"
    assert [one.other for one in found.comparisons] == ["runner-up", "reference", "untouched"]


def test_what_is_compared_is_the_objective_that_the_search_maximises() -> None:
    def model(trial: int | None, repeat: int, de: float, ko: float) -> ModelScored:
        scores = split_scores({"de": de, "ko": ko}).model_copy(update={"objective": min(de, ko)})
        return ModelScored(trial=trial, repeat=repeat, validation=scores, test=scores)

    finals = [model(1, 1, 0.9, 0.3), model(2, 1, 0.5, 0.5), model(None, 0, 0.1, 0.2)]
    found = decided([*search(), *finals], objective={"kind": "worst_family"})
    assert (found.trial, found.compared) == (2, "objective")
    assert found.rows[0].measured.value == pytest.approx(0.5)
    assert found.rows[1].measured.value == pytest.approx(0.3)


def test_nothing_is_decided_before_a_candidate_is_scored() -> None:
    settings = SearchSettings.model_validate(SETTINGS)
    assert decide(Outcomes(search()), settings, FAMILIES) is None
    assert decide(Outcomes(), settings, FAMILIES) is None


def unlike(trial: int | None, repeat: int, de: float, ko: float) -> ModelScored:
    """A model that is not the same in both languages."""
    scores = split_scores({"de": de, "ko": ko})
    return ModelScored(trial=trial, repeat=repeat, validation=scores, test=scores)


def test_the_best_of_those_that_keep_the_floors_is_chosen() -> None:
    finals = [unlike(1, 1, 0.9, 0.15), unlike(2, 1, 0.5, 0.2), unlike(0, 0, 0.2, 0.2)]
    assert decided([*search(), *finals]).trial == 1
    found = decided([*search(), *finals], floors={"ko": -0.01})
    assert (found.trial, found.violations, found.tied) == (2, (), ())
    assert decided([*search(), *finals], floors={"ko": -0.06}).trial == 1


def test_of_its_runs_the_best_that_keeps_the_floors_is_the_model() -> None:
    # The mean of the runs keeps the floor of ko, and the run with the best mean does not.
    runs = [unlike(1, 1, 0.9, 0.15), unlike(1, 2, 0.6, 0.3)]
    finals = [*runs, unlike(2, 1, 0.4, 0.3), unlike(0, 0, 0.2, 0.2)]
    assert decided([*search(), *finals]).repeat == 1
    found = decided([*search(), *finals], floors={"ko": 0.0})
    assert (found.trial, found.repeat, found.violations) == (1, 2, ())
    runs = [unlike(1, 1, 0.9, 0.15), unlike(1, 2, 0.15, 0.9)]  # each breaks another floor
    finals = [*runs, unlike(2, 1, 0.4, 0.1), unlike(0, 0, 0.2, 0.2)]
    found = decided([*search(), *finals], no_language_below="reference")
    assert (found.trial, found.repeat) == (1, 1)
    assert found.violations == ("ko is 0.050 below its floor",)
    said = describe_choice(found)
    assert "these do not keep the constraints of the search: trial 2 (ko is 0.100" in said
    assert "no run of trial 1 keeps the constraints of the search by itself" in said


def test_a_reference_that_is_a_finalist_keeps_its_own_floors() -> None:
    # Its runs with other seeds are worse in ko than the one of the search.
    runs = [trained(0, 0.5, repeat=1), trained(0, 0.5, repeat=2)]
    events = [*search(), *flat(*runs)]
    finals = [unlike(0, 0, 0.6, 0.6), unlike(0, 1, 0.7, 0.5), unlike(1, 1, 0.5, 0.4)]
    found = decided([*events, *finals], no_language_below="reference",
                    finalists={"count": 3, "seeds": 2})  # fmt: skip
    assert (found.trial, found.violations) == (0, ())
    (behind,) = (row for row in found.rows if row.trial == 1)
    assert len(behind.violations) == 2
    said = list(describe_comparisons(found))
    assert sum("against" in line for line in said) == 1  # the runner-up


def test_where_none_keeps_the_floors_that_is_said() -> None:
    finals = [unlike(1, 1, 0.9, 0.1), unlike(2, 1, 0.5, 0.15), unlike(0, 0, 0.2, 0.2)]
    found = decided([*search(), *finals], no_language_below="reference")
    assert (found.trial, found.violations) == (2, ("ko is 0.050 below its floor",))
    assert "no finalist keeps the constraints" in describe_choice(found)


def test_a_model_that_is_too_large_is_not_chosen_over_one_that_is_not() -> None:
    finals = [unlike(1, 1, 0.9, 0.9), unlike(2, 1, 0.5, 0.5), unlike(0, 0, 0.2, 0.2)]
    events = [*search(parameters=(900, 100)), *finals]
    assert decided(events, max_parameters=500).trial == 2
    assert decided(events, max_parameters=1000).trial == 1
