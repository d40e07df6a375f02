"""What follows the trials of a search: first other seeds for its best, then one reading of the test."""  # noqa: E501

from __future__ import annotations

from typing import Any

from search.events.outcomes import Outcomes
from search.events.types import AVERAGED, JournalStarted, TrialStarted
from search.finals.plan import candidates, next_tasks
from search.scoring.constraints import Constraints
from search.settings.sections import FinalistSettings, SearchSettings
from tests.search.finals.events import VALUES, flat, scored, trained

SETTINGS = SearchSettings(finalists=FinalistSettings(count=2, seeds=2))
RUNS = [trained(trial, 0.5, repeat=repeat) for trial in (1, 2) for repeat in (1, 2)]
SEARCH = flat(trained(0, 0.2), trained(1, 0.5), trained(2, 0.6, state="stopped"), trained(3, 0.4))


def shown(outcomes: Outcomes, settings: SearchSettings) -> list[tuple[str, int | None, int]]:
    return [(task.task, task.trial, task.repeat) for task in next_tasks(outcomes, settings)]


def test_the_best_trials_are_trained_with_other_seeds_before_anything_is_scored() -> None:
    outcomes = Outcomes(SEARCH)
    tasks = next_tasks(outcomes, SETTINGS)
    assert shown(outcomes, SETTINGS) == [
        ("train", 2, 1), ("train", 1, 1), ("train", 2, 2), ("train", 1, 2)
    ]  # fmt: skip
    given: list[Any] = [task.values for task in tasks]
    seeds = [values["training"]["seed"] for values in given]
    assert seeds == [8, 8, 9, 9]
    assert [values["training"]["pairs_seed"] for values in given] == [7] * 4
    for event in flat(trained(2, 0.5, repeat=1), trained(1, 0.5, repeat=1)):
        outcomes.follow(event)
    assert shown(outcomes, SETTINGS) == [("train", 2, 2), ("train", 1, 2)]


def test_then_the_runs_the_reference_and_the_base_are_scored_once() -> None:
    outcomes = Outcomes(flat(SEARCH, *RUNS))
    first = shown(outcomes, SETTINGS)
    assert first == [
        ("score", 2, 1), ("score", 2, 2), ("score", 1, 1), ("score", 1, 2), ("score", 0, 0),
        ("score", 2, AVERAGED), ("score", 1, AVERAGED), ("score", None, 0),
    ]  # fmt: skip
    for task in next_tasks(outcomes, SETTINGS):
        model = scored(task.trial, 0.5, 0.5, repeat=task.repeat)
        outcomes.follow(model.model_copy(update={"averaged": task.averaged}))
    assert next_tasks(outcomes, SETTINGS) == []


def test_an_average_is_scored_again_once_there_are_more_runs() -> None:
    outcomes = Outcomes(flat(SEARCH, *RUNS))
    tasks = next_tasks(outcomes, SETTINGS)
    averages = [(task.trial, task.averaged) for task in tasks if task.repeat == AVERAGED]
    assert averages == [(2, (1, 2)), (1, (1, 2))]
    for task in tasks:
        model = scored(task.trial, 0.5, 0.5, repeat=task.repeat)
        outcomes.follow(model.model_copy(update={"averaged": task.averaged}))
    more = SearchSettings(finalists=FinalistSettings(count=2, seeds=3))
    for event in flat(trained(2, 0.5, repeat=3), trained(1, 0.5, repeat=3, state="failed")):
        outcomes.follow(event)
    assert shown(outcomes, more) == [("score", 2, 3), ("score", 2, AVERAGED)]
    assert next_tasks(outcomes, more)[1].averaged == (1, 2, 3)


def test_nothing_is_averaged_of_one_run_or_where_it_is_not_wanted() -> None:
    off = SearchSettings(finalists=FinalistSettings(count=2, seeds=2, average=False))
    one = SearchSettings(finalists=FinalistSettings(count=2, seeds=1))
    outcomes = Outcomes(flat(SEARCH, *RUNS))
    for settings in (off, one):
        assert AVERAGED not in [task.repeat for task in next_tasks(outcomes, settings)]


def test_runs_that_failed_are_not_trained_again_and_do_not_count() -> None:
    failed = [trained(2, 0.5, repeat=repeat, state="failed") for repeat in (1, 2)]
    done = [trained(1, 0.5, repeat=1), trained(1, 0.5, repeat=2, state="failed")]
    outcomes = Outcomes(flat(SEARCH, *failed, *done))
    assert candidates(outcomes, SETTINGS) == {1: ((1, 1),)}
    assert shown(outcomes, SETTINGS) == [("score", 1, 1), ("score", 0, 0), ("score", None, 0)]


def test_without_finalists_the_best_trial_is_scored_as_it_is() -> None:
    outcomes = Outcomes(SEARCH)
    settings = SearchSettings(finalists=None)
    assert candidates(outcomes, settings) == {2: ((2, 0),)}
    assert shown(outcomes, settings) == [("score", 2, 0), ("score", 0, 0), ("score", None, 0)]


def test_a_search_in_which_nothing_finished_has_no_finals() -> None:
    assert next_tasks(Outcomes(trained(0, 0.5, state="stopped")), SETTINGS) == []
    assert next_tasks(Outcomes(), SETTINGS) == []


def test_a_run_with_another_seed_changes_no_trial_of_the_search() -> None:
    outcomes = Outcomes(SEARCH)
    before = [(o.trial, o.accuracy) for o in outcomes.ranked()]
    for event in trained(3, 0.99, repeat=1):
        outcomes.follow(event)
    assert [(o.trial, o.accuracy) for o in outcomes.ranked()] == before
    assert outcomes.run(3, 1).accuracy == 0.99


def test_the_finalists_are_those_that_keep_the_constraints() -> None:
    events = [*SEARCH, *trained(4, 0.7, parameters=900)]
    floor = JournalStarted(constraints=Constraints(floors={"de": 0.25}))
    assert [o.trial for o in Outcomes([floor, *events]).ranked()] == [4, 2, 1, 3, 0]
    limit = JournalStarted(constraints=Constraints(floors={"de": 0.25}, max_parameters=500))
    outcomes = Outcomes([limit, *events])
    assert [o.trial for o in outcomes.ranked()] == [2, 1, 3, 0, 4]
    assert (best := outcomes.best()) is not None and best.trial == 2
    search = SearchSettings.model_validate({"finalists": {"count": 2}})
    assert [task.trial for task in next_tasks(outcomes, search)] == [2, 1] * 3


def test_a_trial_that_goes_on_from_another_does_so_with_other_seeds_too() -> None:
    _, done, end = trained(4, 0.9)
    child = TrialStarted(
        trial=4,
        reference=False,
        values=VALUES,
        parent=1,
        epochs=2,
    )
    outcomes = Outcomes([*SEARCH, child, done.model_copy(update={"epoch": 2}), end])
    settings = SearchSettings(finalists=FinalistSettings(count=1, seeds=1))
    assert shown(outcomes, settings) == [("train", 1, 1)]
    for event in trained(1, 0.5, repeat=1):
        outcomes.follow(event)
    (task,) = next_tasks(outcomes, settings)
    assert (task.trial, task.repeat, task.parent, task.epochs) == (4, 1, 1, 2)
