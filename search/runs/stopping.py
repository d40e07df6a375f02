"""When a command is asked to end before its work is done: by a signal, or by the time it has."""

from __future__ import annotations

import math
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from search.settings.problems import InputError, shown

SIGNALS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "ended by SIGTERM",
    signal.SIGHUP: "ended by SIGHUP",
}
# A second SIGTERM within this time is the first one's twin: `timeout` sends one to the command and
# one to its process group.
TOGETHER_S = 1.0
# Of the time given by --timeout, the share in which the best model is made, and its limits.
RESERVE = 0.1
LEAST_RESERVE_S, MOST_RESERVE_S = 10.0, 60.0

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


@dataclass(frozen=True)
class Stop:
    """Why a command ends before its work is done.

    Attributes:
        reason: in a few words.
        status: exit status of the command; None for that of one that ran to its end.
    """

    reason: str
    status: int | None


class StopError(KeyboardInterrupt):
    """Ends what the command is doing; it is no fault, and no handler of faults takes it for one."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.reason)
        self.stop = stop


class StopRequest:
    """Asked between steps whether to end: after SIGINT, SIGTERM or SIGHUP, or when time is over.

    While something asks, and while best/ is made (`polled`), the first signal is only noted. At any
    other time, and when a second one comes, a signal ends at once what the command is doing; not so
    a second SIGHUP, nor two SIGTERM within a second.

    Args:
        timeout: seconds that the command may take from now on; None for as long as it needs.

    Attributes:
        stop: why to end; None while there is no reason to.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self.stop: Stop | None = None
        self._polled = False
        self._terminated = -math.inf  # when the last SIGTERM came
        self._deadline = None
        if timeout is not None:
            reserve = min(max(timeout * RESERVE, LEAST_RESERVE_S), MOST_RESERVE_S, timeout / 2)
            self._deadline = time.monotonic() + timeout - reserve

    def asked(self) -> bool:
        """Whether to end now."""
        if self.stop is None and self._deadline is not None and time.monotonic() >= self._deadline:
            self.stop = Stop("the time given by --timeout is over", None)
        return self.stop is not None

    def left(self) -> float | None:
        """Seconds until the time that trials have is over; None where nothing limits it."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listen to signals."""
        listened = [number for number in SIGNALS if not _ignored_hangup(number)]
        before = {number: signal.signal(number, self._hear) for number in listened}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def polled(self) -> Iterator[None]:
        """Only note the first signal: those inside ask whether to end, or are nearly done."""
        self._polled = True
        try:
            with self.on_signals():  # anew: Ray has put a handler of its own in their place
                yield
        finally:
            self._polled = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        heard = signal.Signals(number)
        if heard == signal.SIGHUP:
            _leave_terminal()
        is_first = self.stop is None or self.stop.status is None
        if heard == signal.SIGHUP and not is_first:
            return  # the system and the shell both tell of a terminal that closes
        if heard == signal.SIGTERM:
            before, self._terminated = self._terminated, time.monotonic()
            if self._terminated - before < TOGETHER_S:
                return
        if is_first:
            self.stop = Stop(SIGNALS[heard], 128 + number)
        if not is_first or not self._polled:
            assert self.stop is not None, "set above, or earlier"
            raise StopError(self.stop)


def _ignored_hangup(number: signal.Signals) -> bool:
    """Whether it is the signal that `nohup` has asked to ignore."""
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN


def _leave_terminal() -> None:
    """Write to nowhere from now on: the terminal is closed, and writing to it would fail."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        if stream is not None and not stream.closed and os.isatty(stream.fileno()):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def parse_duration(text: str, option: str) -> float:
    """Seconds of "90", "90s", "3m", "1h30m" or "2d".

    Raises:
        InputError: it is none of these, or no time at all.
    """
    parts = re.fullmatch(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?"
                         r"(?:(\d+(?:\.\d+)?)s?)?", text.strip())  # fmt: skip
    seconds = 0.0
    if parts:
        pairs = zip(parts.groups(), _UNITS.values(), strict=True)
        seconds = sum(float(count) * unit for count, unit in pairs if count)
    if not seconds:
        raise InputError(
            f"{option} is {shown(repr(text))}; it must be a time such as 90s, 3m or 1h30m"
        )
    return seconds
