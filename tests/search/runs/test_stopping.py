"""When a command is asked to end: signals, the time it has, and how that time is written."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from search.runs.stopping import StopError, StopRequest, parse_duration
from search.settings.problems import InputError

STATUSES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(autouse=True)
def _handlers_are_put_back() -> Iterator[None]:
    # The tests may themselves run under `nohup`, which is heeded.
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    before = {number: signal.getsignal(number) for number in STATUSES}
    yield
    assert {number: signal.getsignal(number) for number in STATUSES} == before
    signal.signal(signal.SIGHUP, inherited)


@pytest.mark.parametrize("number", STATUSES)
def test_a_signal_ends_at_once_what_does_not_ask(number: signal.Signals) -> None:
    request = StopRequest()
    with request.on_signals(), pytest.raises(StopError) as raised:
        os.kill(os.getpid(), number)
    assert raised.value.stop is request.stop
    assert request.stop is not None
    assert request.stop.status == STATUSES[number]


@pytest.mark.parametrize("number", STATUSES)
def test_the_first_signal_is_noted_and_the_second_ends_at_once(number: signal.Signals) -> None:
    request = StopRequest()
    with request.on_signals(), request.polled():
        assert not request.asked()
        os.kill(os.getpid(), number)
        assert request.asked()
        with pytest.raises(StopError):
            os.kill(os.getpid(), signal.SIGINT)
    assert request.stop is not None
    assert request.stop.status == STATUSES[number]  # of the first


def test_two_sigterm_that_come_together_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("search.runs.stopping.time.monotonic", lambda: now[0])
    request = StopRequest()
    with request.on_signals(), request.polled():
        os.kill(os.getpid(), signal.SIGTERM)
        now[0] += 0.9  # a process group is told after the command
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.asked()
        now[0] += 1.1
        with pytest.raises(StopError):
            os.kill(os.getpid(), signal.SIGTERM)
    at_once = StopRequest()
    with at_once.on_signals():
        with pytest.raises(StopError):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # while what was begun is taken away


def test_a_terminal_that_closes_may_be_told_of_twice() -> None:
    request = StopRequest()
    with request.on_signals():
        with request.polled():
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)  # best/ is made by now
        with pytest.raises(StopError):
            os.kill(os.getpid(), signal.SIGTERM)


def test_after_the_work_that_asks_a_signal_ends_at_once() -> None:
    request = StopRequest()
    with request.on_signals():
        with request.polled():
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(StopError):
            os.kill(os.getpid(), signal.SIGINT)


def test_nohup_is_heeded() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        request = StopRequest()
        with request.on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert request.stop is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_time_is_over_before_all_of_it_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("search.runs.stopping.time.monotonic", lambda: now[0])
    tiny, short, long = (StopRequest(timeout=seconds) for seconds in (4, 100, 36_000))
    now[0] += 2
    assert tiny.asked()
    now[0] -= 2
    now[0] += 89
    assert not short.asked()
    now[0] += 1  # a tenth is left for best/
    assert short.asked()
    now[0] = 1000.0 + 36_000 - 61
    assert not long.asked()
    now[0] += 1  # of a long time, a minute
    assert long.asked()
    assert short.stop is not None
    assert short.stop.status is None  # the command ends as one that ran to its end
    with short.polled():
        os.kill(os.getpid(), signal.SIGINT)  # the first one is still noted only
    assert short.stop.status == 130


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("3m", 180), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172_800),
     ("1d2h3m4s", 93_784)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, "--timeout") == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-3m", "m", "3 minutes", "1m2h", "nan", "1e3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--timeout is .*; it must be a time such as"):
        parse_duration(text, "--timeout")
