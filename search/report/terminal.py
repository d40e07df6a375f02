"""The live view of a search: a Rich panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from textwrap import shorten
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.events.journal import Outcome, Outcomes
from search.settings.trial import Scores

BAR = 24
ERROR = 60  # characters of one in the table; the whole stands in the line of its trial


class View:
    """Shows how a search stands.

    Args:
        console: where; what it can do decides between the live view and plain lines.
        name: of the run.
        trials: of the search.
    """

    def __init__(self, console: Console, name: str, trials: int) -> None:
        self._console = console
        self._name = name
        self._trials = trials
        self._outcomes = Outcomes()
        self._dashboard: str | None = None
        self._status = "starting Ray"
        self._started = time.monotonic()
        self._ended: set[int] = set()
        self._live = Live(
            get_renderable=self._render,
            console=console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,  # what libraries print goes to a file, not above the view
            redirect_stderr=False,
        )

    def __enter__(self) -> View:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def running(self, dashboard: str | None, lanes: str) -> None:
        """The cluster is there: where its dashboard is, and what the lanes are."""
        self._dashboard = dashboard
        self._status = lanes
        self._started = time.monotonic()
        if not self._console.is_terminal:
            where = f", Ray dashboard {dashboard}" if dashboard else ""
            self._line(f"{self._name}: {self._trials} trials on {lanes}{where}")

    def resume(self, outcomes: Outcomes) -> None:
        """Take in what earlier commands of the run have done; nothing of it is shown as news."""
        self._ended |= {o.trial for o in outcomes.by_trial.values() if o.state is not None}
        self.update(outcomes)

    def update(self, outcomes: Outcomes) -> None:
        """Show how the trials stand."""
        self._outcomes = outcomes
        if self._console.is_terminal:
            return
        for outcome in outcomes.by_trial.values():
            if outcome.state is not None and outcome.trial not in self._ended:
                self._ended.add(outcome.trial)
                best = outcomes.best()
                so_far = f", best {best.scores.value:.3f} (trial {best.trial})" if best else ""
                self._line(f"[{len(self._ended)}/{self._trials}] {describe(outcome)}{so_far}")

    def tell(self, text: str) -> None:
        """Say once what a person should know of the run."""
        self._line(f"note: {text}")

    def status(self, message: str) -> None:
        """Say what is going on beside the trials."""
        self._status = message
        if not self._console.is_terminal:
            self._line(message)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _left(self) -> str:
        """Time left, from the time that the trials so far have taken."""
        ended = sum(o.state is not None for o in self._outcomes.by_trial.values())
        if ended < 3:
            return "time left: not known yet"
        seconds = (time.monotonic() - self._started) / ended * (self._trials - ended)
        return f"about {duration(seconds)} left"

    def _render(self) -> RenderableType:
        outcomes = self._outcomes
        ended = sum(o.state is not None for o in outcomes.by_trial.values())
        counts = Text.assemble(
            (f"{outcomes.count(None)} running", "cyan"),
            "  ",
            (f"{outcomes.count('stopped')} stopped early", "yellow"),
            "  ",
            (f"{outcomes.count('finished')} finished", "green"),
            "  ",
            (f"{outcomes.count('failed')} failed", "red" if outcomes.count("failed") else "dim"),
        )
        progress = Table.grid(padding=(0, 1))
        progress.add_row(
            f"{ended}/{self._trials}",
            ProgressBar(total=self._trials, completed=ended, width=BAR),
            duration(time.monotonic() - self._started),
            Text(self._left(), "dim"),
        )
        parts: list[RenderableType] = [counts, progress]
        running = [o for o in outcomes.by_trial.values() if o.state is None]
        if running:
            table = Table.grid(padding=(0, 2))
            for outcome in running:
                reached = f"{outcome.scores.value:.3f}" if outcome.epochs else ""
                table.add_row(
                    f"trial {outcome.trial}", f"epoch {outcome.epochs}", reached, label(outcome)
                )
            parts += ["", table]
        best = outcomes.best()
        if best is not None:
            parts += ["", *self._best(best)]
        parts += ["", Text(self._status, "dim")]
        if self._dashboard:
            parts.append(Text(f"Ray dashboard: {self._dashboard}", "dim"))
        return Panel(Group(*parts), title=escape(f"Isogloss · {self._name}"), title_align="left")

    def _best(self, best: Outcome) -> list[RenderableType]:
        reference = self._outcomes.by_trial.get(0)
        table = Table.grid(padding=(0, 1))
        table.add_row("", "accuracy", "", Text("reference", "dim"))
        for language, accuracy in [("all", best.accuracy), *best.by_language.items()]:
            before = _score(reference, language)
            table.add_row(
                language,
                f"{accuracy:.3f}",
                ProgressBar(total=1.0, completed=accuracy, width=BAR),
                Text("" if before is None else f"{before:.3f}", "dim"),
            )
        return [Text(f"best so far: trial {best.trial}, {label(best)}", "bold"), table]


def ranking(outcomes: Outcomes, most: int = 10) -> Table:
    """Make a table of the best trials, the reference and the untouched base, a column a language.

    Where trials are cases, all of them are in it.
    """
    ranked = outcomes.ranked()
    languages = outcomes.languages()
    table = Table(box=None, padding=(0, 1), header_style="bold", title="accuracy")
    objective = any(outcome.scores.objective is not None for outcome in ranked)
    for column in ("#", "trial", "state", *(["objective"] if objective else []), "all", *languages):
        if column == "state":
            table.add_column(column, no_wrap=True, min_width=len("unfinished"))
        else:
            table.add_column(column, no_wrap=True, min_width=len("0.00"), justify="right")
    table.add_column("what", overflow="ellipsis", no_wrap=True)
    for rank, outcome in enumerate(ranked, start=1):
        if rank > most and not outcome.reference and not outcome.values.get("case"):
            continue
        scored = outcome.epochs > 0 and outcome.state != "failed"
        scores = _columns(outcome.scores, languages, objective)
        table.add_row(
            str(rank),
            str(outcome.trial),
            outcome.state or "unfinished",
            *(f"{score:.2f}" if scored and score is not None else "" for score in scores),
            escape(shorten(outcome.error, ERROR, placeholder="…") or label(outcome)),
            style="dim" if outcome.reference else None,
        )
    if outcomes.untouched is not None:
        scores = _columns(outcomes.untouched, languages, objective)
        shown = [f"{score:.2f}" if score is not None else "" for score in scores]
        table.add_row("", "", "untouched", *shown, "the base without training", style="dim")
    return table


def _columns(scores: Scores, languages: Sequence[str], objective: bool) -> list[float | None]:
    first = [scores.objective] if objective else []
    return [*first, scores.accuracy, *(scores.by_language.get(name) for name in languages)]


def _score(outcome: Outcome | None, language: str) -> float | None:
    if outcome is None or not outcome.epochs:
        return None
    return outcome.accuracy if language == "all" else outcome.by_language.get(language)


def describe(outcome: Outcome) -> str:
    """One trial in a line."""
    what = f"trial {outcome.trial} {outcome.state}"
    if outcome.state == "failed":
        return f"{what} after epoch {outcome.epochs}: {outcome.error} ({label(outcome)})"
    objective = outcome.scores.objective
    also = "" if objective is None else f"objective {objective:.3f}, "
    reached = f"{also}accuracy {outcome.accuracy:.3f}"
    return f"{what} at epoch {outcome.epochs}, {reached} ({label(outcome)})"


def label(outcome: Outcome) -> str:
    """What a trial is made of, in a few words."""
    kinds = [_kind(outcome, part) for part in ("pooling", "head", "adapter", "loss")]
    mined = _kind(outcome, "negatives") != "none"
    what = outcome.values.get("case") or "+".join([*kinds, *(["mined"] if mined else [])])
    return f"reference: {what}" if outcome.reference else str(what)


def _kind(outcome: Outcome, part: str) -> str:
    section = outcome.values.get(part)
    return str(section["kind"]) if isinstance(section, dict) else "none"


def duration(seconds: float) -> str:
    """Seconds -> "2 min 05 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
