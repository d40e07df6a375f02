"""How long a search will still take, on searches whose end is known."""

from __future__ import annotations

import pytest

from search.events.outcomes import Outcomes
from search.events.types import EpochDone, Event, TrialEnded, TrialStarted
from search.report.remaining import remaining
from search.settings.scheduler.asha import Asha

ASHA = Asha(max_epochs=9, reduction=3, grace_epochs=1)


def started(trial: int) -> TrialStarted:
    return TrialStarted(trial=trial, reference=trial == 0, values={})


def epochs(trial: int, count: int, *, began: float, each: float, lane: int = 1) -> list[Event]:
    """The reports of a trial whose epochs all take as long."""
    return [
        EpochDone(
            trial=trial, epoch=n, loss=1.0, accuracy=0.5, by_language={"de": 0.5},
            seconds=n * each, trainable_parameters=1, start="tokens", lane=lane, began=began,
            ended=began + n * each,
        )
        for n in range(1, count + 1)
    ]  # fmt: skip


def whole(trial: int, count: int, began: float, each: float = 2.0) -> list[Event]:
    state = "finished" if count == 9 else "stopped"
    end = TrialEnded(trial=trial, state=state)
    return [started(trial), *epochs(trial, count, began=began, each=each), end]


def test_trials_that_wait_are_shared_out_among_the_lanes() -> None:
    # Each stopped trial takes 2 s, with 1 s from one to the next. None of six has passed the first
    # rung, which counts as (0 + 2/3) of 8: so many of those that wait train two epochs more, and a
    # third of them another six.
    events = [e for n in range(1, 7) for e in whole(n, 1, began=100 + 3.0 * n)]
    usual = 2.0 + (2 / 3 / 8) * (2 * 2.0 + (1 / 3) * 6 * 2.0)
    found = remaining(Outcomes(events), 16, 1, ASHA, 120.0, {})
    assert found.seconds == pytest.approx(10 * (usual + 1.0))
    found = remaining(Outcomes(events), 16, 2, ASHA, 120.0, {})
    assert found.seconds == pytest.approx(5 * (usual + 1.0))


def test_trials_that_survive_cost_what_such_trials_have_cost() -> None:
    # Cheap trials are stopped at the first rung, those of 10 s an epoch go on to the end.
    cheap = [e for n in range(1, 5) for e in whole(n, 1, began=2.0 * n, each=1.0)]
    dear = [e for n in (5, 6) for e in whole(n, 9, began=10.0 + 90.0 * (n - 5), each=10.0)]
    first, second = (2 + 2 / 3) / 8, (2 + 2 / 3) / 4
    usual = (4 * 1.0 + 2 * 10.0) / 6 + first * (2 * 10.0 + second * 6 * 10.0)
    found = remaining(Outcomes([*cheap, *dear]), 7, 1, ASHA, 190.0, {})
    gap = 1.0  # between two of the cheap ones, the most frequent one
    assert found.seconds == pytest.approx(usual + gap)


def test_what_takes_too_long_is_never_about_to_end() -> None:
    ended = [*whole(1, 1, 0.0), *whole(2, 1, 3.0)]
    running = [*ended, started(3), *epochs(3, 8, began=6.0, each=4.0)]
    for waited, left in ((1.0, 3.0), (4.0, 1.0), (10.0, 6.0), (40.0, 36.0)):
        found = remaining(Outcomes(running), 3, 1, ASHA, 38.0 + waited, {})
        assert found.seconds == pytest.approx(left)


def test_a_trial_past_the_last_rung_costs_its_epochs() -> None:
    events = [*whole(1, 1, 0.0), *whole(2, 1, 3.0), started(3), *epochs(3, 5, began=6.0, each=4.0)]
    found = remaining(Outcomes(events), 3, 1, ASHA, 27.0, {})
    # 4 epochs of 4 s, of which one second is over.
    assert found.seconds == pytest.approx(15.0)
    assert found.ends == {3: pytest.approx(15.0)}


def test_a_trial_before_a_rung_is_stopped_as_often_as_others_were() -> None:
    ended = [e for n in range(1, 5) for e in whole(n, 1, began=3.0 * n)]
    running = [started(5), *epochs(5, 1, began=20.0, each=3.0)]
    found = remaining(Outcomes([*ended, *running]), 5, 1, ASHA, 23.0, {})
    # Two epochs to the rung at 3, which one in three passes to train six more.
    assert found.seconds == pytest.approx((2 + 6 / 3) * 3.0)


def test_a_reference_is_never_stopped() -> None:
    found = remaining(Outcomes([started(0), *epochs(0, 1, began=0.0, each=3.0)]), 1, 1, ASHA, 3, {})
    assert found.seconds == pytest.approx(8 * 3.0)


def test_a_trial_that_a_command_goes_on_with_has_stood_still_until_then() -> None:
    events = [*whole(0, 9, 0.0), started(1), *epochs(1, 4, began=20.0, each=2.0)]
    hours = 10_000.0
    found = remaining(Outcomes(events), 2, 1, ASHA, hours + 1.0, {(1, 0): hours})
    assert found.ends[1] == pytest.approx(5 * 2.0 - 1.0)


def test_little_is_known_at_first() -> None:
    assert remaining(Outcomes(), 8, 2, ASHA, 0.0, {}).seconds is None
    events = [*whole(0, 9, 0.0), started(1)]
    assert remaining(Outcomes(events), 8, 2, ASHA, 20.0, {(1, 0): 19.0}).seconds is None
    assert remaining(Outcomes(whole(0, 9, 0.0)), 1, 2, ASHA, 20.0, {}).seconds is None


def test_finalists_are_trained_anew_when_the_last_trial_has_ended() -> None:
    # All epochs take 2 s, so a finalist takes 18 s; three trials with two seeds each on two lanes.
    events = [e for n in range(1, 5) for e in whole(n, 9, began=20.0 * n)]
    found = remaining(Outcomes(events), 4, 2, ASHA, 98.0, {}, finals=(3, 2))
    assert found.seconds == pytest.approx(3 * 18.0)
    assert remaining(Outcomes(events), 4, 2, ASHA, 98.0, {}, finals=(0, 2)).seconds is None
    # One has ended, and one has trained five epochs of 3 s and a second: 11 s of it are left.
    runs = [*whole(1, 9, began=100.0), started(1), *epochs(1, 5, began=120.0, each=3.0)]
    again = [
        event.model_copy(update={"repeat": 1 if index < 11 else 2})
        for index, event in enumerate(runs)
    ]
    found = remaining(Outcomes([*events, *again]), 4, 2, ASHA, 136.0, {}, finals=(2, 2))
    assert found.seconds == pytest.approx(18.0 + 11.0)


def test_the_first_epoch_of_a_finalist_tells_little_of_the_others() -> None:
    # It computes what is then there: 30 s in place of 2.
    events = [e for n in range(1, 3) for e in whole(n, 9, began=20.0 * n)]
    run = [started(1), *epochs(1, 1, began=60.0, each=30.0)]
    again = [event.model_copy(update={"repeat": 1}) for event in run]
    found = remaining(Outcomes([*events, *again]), 2, 1, ASHA, 90.0, {}, finals=(1, 1))
    assert found.seconds == pytest.approx(8 * 2.0)
    # Before it, the time since the start counts.
    events += again[:1]
    since = {(1, 1): 60.0}
    found = remaining(Outcomes(events), 2, 1, ASHA, 70.0, since, finals=(1, 1))
    assert found.seconds == pytest.approx(18.0 - 10.0)
