"""A search on the terminal while it runs: a live view of its own screen, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live as Screen
from rich.markup import escape

from search.events.outcomes import Outcomes
from search.report.live import Live
from search.report.remaining import Remaining, remaining
from search.report.words import describe, describe_epoch, duration
from search.runtime.progress import Progress, shown_by
from search.settings.interface import SchedulerConfig

REFRESHES = 2  # a second
PULSE_S = 60.0  # between two lines that say how things stand


class View:
    """Shows how a search stands.

    Args:
        console: where; what it can do decides between the live view and plain lines.
        name: of the run.
        trials: of the search.
        scheduler: when trials are stopped, for the time left.
        stopping: why the search is about to end early; empty while it is not.
        finals: as of `remaining`.
        limit: seconds until trials are stopped by a time limit; None where there is none.
        verbose: print a line an epoch too, where there is no live view.
    """

    def __init__(
        self,
        console: Console,
        name: str,
        trials: int,
        scheduler: SchedulerConfig,
        stopping: Callable[[], str] = lambda: "",
        finals: tuple[int, int] = (0, 0),
        limit: Callable[[], float | None] = lambda: None,
        verbose: bool = False,
    ) -> None:
        self._console = console
        self._live = Live(name, trials, status="starting Ray")
        self._scheduler = scheduler
        self._stopping = stopping
        self._of_finals = finals
        self._limit = limit
        self._verbose = verbose
        self._told: dict[tuple[int, int], int] = {}  # run -> the last of its epochs that was told
        self._started = time.monotonic()
        self._seen: dict[tuple[int, int], float] = {}  # run -> Unix time
        self._ended: set[int] = set()
        self._pulsed = self._started
        self._notes: list[str] = []
        self._screen = Screen(
            get_renderable=self._render,
            console=console,
            refresh_per_second=REFRESHES,
            screen=True,  # nothing of it is left, whatever Ctrl-C or another size has put on it
            redirect_stdout=False,  # what libraries print goes to a file, not above the view
            redirect_stderr=False,
        )

    def __enter__(self) -> View:
        if self._console.is_terminal:
            self._screen.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._screen.stop()
            for note in self._notes:
                self._line(f"note: {note}")

    def running(self, dashboard: str | None, lanes: str, count: int) -> None:
        """The cluster is there: where its dashboard is, what the lanes are, and how many."""
        self._live.dashboard = dashboard
        self._live.status = lanes
        self._live.lanes = count
        self._started = self._pulsed = time.monotonic()
        if not self._console.is_terminal:
            where = f", Ray dashboard {dashboard}" if dashboard else ""
            self._line(f"{self._live.name}: {self._live.trials} trials on {lanes}{where}")

    def follow(self, progress: Callable[[int], Progress | None]) -> None:
        """Show how far running trials have come within their epochs."""
        self._live.progress = progress

    def resume(self, outcomes: Outcomes) -> None:
        """Take in what earlier commands of the run have done; nothing of it is shown as news."""
        self._ended |= {o.trial for o in outcomes.by_trial.values() if o.state is not None}
        self._told |= {run: outcome.epochs for run, outcome in outcomes.runs().items()}
        self.update(outcomes)

    def update(self, outcomes: Outcomes) -> None:
        """Show how the trials stand."""
        self._live.outcomes = outcomes
        for run in outcomes.runs():
            self._seen.setdefault(run, time.time())
        if self._console.is_terminal:
            return
        if self._verbose:
            for run, outcome in outcomes.runs().items():
                if outcome.epochs > self._told.get(run, 0):
                    self._told[run] = outcome.epochs
                    self._line(describe_epoch(outcome, outcome.most_epochs))
        for outcome in outcomes.by_trial.values():
            if outcome.state is not None and outcome.trial not in self._ended:
                self._ended.add(outcome.trial)
                best = outcomes.leader()
                so_far = f", best {best.scores.value:.3f} (trial {best.trial})" if best else ""
                self._line(f"[{len(self._ended)}/{self._live.trials}] {describe(outcome)}{so_far}")

    def tell(self, text: str) -> None:
        """Say once what a person should know of the run."""
        if self._console.is_terminal:
            self._notes.append(text)
            self._live.note = text
        else:
            self._line(f"note: {text}")

    def status(self, message: str) -> None:
        """Say what is going on beside the trials."""
        self._live.status = message
        if not self._console.is_terminal:
            self._line(message)

    def pulse(self) -> None:
        """Say every minute how things stand, where there is no live view."""
        now = time.monotonic()
        if self._console.is_terminal or now - self._pulsed < PULSE_S:
            return
        self._pulsed = now
        outcomes = self._live.outcomes
        best = outcomes.leader()
        parts = [
            f"{len(self._ended)}/{self._live.trials} trials ended",
            f"{outcomes.count(None)} running",
            *_finals(outcomes),
            *([f"best {best.scores.value:.3f} (trial {best.trial})"] if best else []),
            f"{duration(now - self._started)} so far",
        ]
        self._line(", ".join(parts))

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        live = self._live
        live.elapsed = time.monotonic() - self._started
        live.stopping = self._stopping()
        left = Remaining(None, {})
        if live.lanes and not live.stopping:
            left = remaining(
                live.outcomes,
                live.trials,
                live.lanes,
                self._scheduler,
                time.time(),
                self._seen,
                self._of_finals,
            )
        live.left, live.ends, live.limit = left.seconds, left.ends, self._limit()
        return live


def _finals(outcomes: Outcomes) -> list[str]:
    """How far finalists have come with other seeds; nothing before their time."""
    runs = [
        f"trial {o.trial} at epoch {o.epochs}" for o in outcomes.repeats.values() if not o.state
    ]
    if not runs:
        return []
    ended = len(outcomes.repeats) - len(runs)
    return [f"finalists with other seeds: {ended} ended, {' and '.join(runs)}"]


@contextmanager
def showing_phases(
    console: Console, first: str, seconds_between: float = PULSE_S
) -> Iterator[None]:
    """Show what is told of the work inside: as it goes on a terminal, elsewhere now and then.

    Args:
        first: what is done before anything is told.
        seconds_between: of lines, where there is no terminal.
    """
    if not console.is_terminal:
        printed = time.monotonic()

        def print_line(progress: Progress) -> None:
            nonlocal printed
            if time.monotonic() - printed >= seconds_between:
                printed = time.monotonic()
                console.print(str(progress), markup=False, highlight=False, soft_wrap=True)

        with shown_by(print_line):
            yield
        return
    with console.status(escape(first)) as status:

        def show(progress: Progress) -> None:
            status.update(escape(str(progress)))

        with shown_by(show):
            yield
