"""The live view of a search as one picture of a terminal's size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.events.outcomes import Outcome, Outcomes
from search.report.tables import SCORE, fitting_languages, line_up, widths
from search.report.words import duration, equal_epoch_gain, gain_text, label, sparkline
from search.runtime.progress import Progress

NAME = 10  # the most characters of a language's name
GAIN = 6  # characters of one
LEAST_BAR, MOST_BAR = 12, 60
SCORES_SHARE = 0.4  # of the free height: the most that bars of languages take
GAP = 2  # blanks between columns of the ranked trials
LEAST_LABEL = 24  # characters of what a trial is made of, beside languages


@dataclass
class Live:
    """What there is to show.

    Attributes:
        name: of the run.
        trials: of the search.
        lanes: trials that run at a time; 0 before that is known.
        status: what goes on beside the trials.
        left: seconds left; None while that is not known.
        limit: seconds left until a time limit stops the trials; None without one.
        ends: running trial -> seconds until it is expected to end.
        stopping: why the search ends early; empty while it does not.
        note: the last one.
    """

    name: str
    trials: int
    lanes: int = 0
    outcomes: Outcomes = field(default_factory=Outcomes)
    progress: Callable[[int], Progress | None] = lambda trial: None
    status: str = ""
    dashboard: str | None = None
    elapsed: float = 0.0
    left: float | None = None
    limit: float | None = None
    ends: Mapping[int, float] = field(default_factory=dict)
    stopping: str = ""
    note: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.height
        width = options.max_width - 4
        title = Text(f"Isogloss · {self.name}")
        yield Panel(
            Group(*self._lines(width, height - 2)), title=title, title_align="left", height=height
        )

    def _lines(self, width: int, height: int) -> list[RenderableType]:
        """Fill the panel: what must be seen stands first and last, what may grow in between."""
        head = [self._counts(), self._bar(width)]
        foot = self._foot()
        running = [o for o in self.outcomes.runs().values() if o.state is None]
        free = height - len(head) - len(foot)
        shown = running[: max(0, free)]
        free -= len(shown)
        parts: list[RenderableType] = [*head]
        if shown:
            parts.append(self._running(shown, width))
        best = self.outcomes.leader()
        if best is not None and free >= 4:
            scores, rows = self._scores(best, width, free - 2)
            parts += [Text(""), self._best(best), scores]
            free -= rows + 2
        if free >= 4 and len(self.outcomes.by_trial) > 1:
            table, rows = self._ranked(width, free - 2)
            parts += [Text(""), table]
            free -= rows + 1
        parts += [Text("")] * max(0, free)
        return [*parts, *foot]

    def _counts(self) -> Text:
        count = self.outcomes.count
        waiting = self.trials - len(self.outcomes.by_trial)
        idle = self.lanes - count(None) if waiting else 0
        told = [
            (f"{count(None)} running", "cyan"),
            (f"{count('stopped')} stopped early", "yellow"),
            (f"{count('finished')} finished", "green"),
            (f"{count('failed')} failed", "red" if count("failed") else "dim"),
            *([(f"{waiting} waiting", "dim")] if waiting > 0 else []),
            *self._finals(),
            *([(f"{idle} idle lane{'s' * (idle > 1)}", "dim")] if idle > 0 else []),
        ]
        text = Text(no_wrap=True, overflow="ellipsis")
        for words, style in told:
            text.append(words, style)
            text.append("  ")
        return text

    def _finals(self) -> list[tuple[str, str]]:
        """How the finalists stand; nothing before their time."""
        runs = self.outcomes.repeats.values()
        ended = sum(run.state is not None for run in runs)
        told = [f"finalists: {len(runs) - ended} running, {ended} ended"] if runs else []
        scored = len(self.outcomes.scored)
        told += [f"{scored} model{'s' * (scored > 1)} scored"] if scored else []
        return [(text, "cyan") for text in told]

    def _bar(self, width: int) -> RenderableType:
        ended = sum(o.state is not None for o in self.outcomes.by_trial.values())
        known = [seconds for seconds in (self.left, self.limit) if seconds is not None]
        left = f"{duration(min(known))} left" if known else "time left: not known yet"
        if self.left is None and known:
            left = f"at most {left}"
        if self.stopping:
            left = "stopping"
        words = [f"{ended}/{self.trials}", f"{duration(self.elapsed)} so far,", left]
        size = max(LEAST_BAR, width - sum(map(len, words)) - 3)
        row = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self.trials, completed=ended, width=size)
        row.add_row(words[0], bar, words[1], Text(left, "bold" if self.left is not None else "dim"))
        return row

    def _running(self, running: Sequence[Outcome], width: int) -> Table:
        rows = []
        for outcome in running:
            progress = self.progress(outcome.trial)
            end = None if outcome.repeat else self.ends.get(outcome.trial)
            seed = f", seed {outcome.repeat}" if outcome.repeat else ""
            rows.append(
                [
                    Text(f"trial {outcome.trial}{seed}"),
                    Text(str(progress) if progress else f"epoch {outcome.epochs + 1}: starting"),
                    Text(sparkline(outcome.curve), "cyan"),
                    Text(f"{outcome.scores.value:.3f}" if outcome.epochs else ""),
                    Text("" if end is None else f"{duration(end)} left", "dim"),
                    Text(label(outcome)),
                ]
            )
        return line_up(rows, width)

    def _best(self, best: Outcome) -> Text:
        text = Text(f"best so far: trial {best.trial}, {label(best)}", "bold", no_wrap=True)
        text.overflow = "ellipsis"
        return text

    def _scores(self, best: Outcome, width: int, height: int) -> tuple[Table, int]:
        """The best trial by language, with its gain over the reference, and the table's rows.

        The gain is that after as many epochs, as in the list of trials.
        """
        reference = self.outcomes.reference_after(best.epochs)
        before = {} if reference is None else {"all": reference.accuracy} | reference.by_language
        if best.reference:
            before = {}
        scores = {"all": best.accuracy} | best.by_language
        longest = min(NAME, max(map(len, scores)))
        cell = longest + SCORE + GAIN + 3
        columns = next(
            (
                n
                for n in range(1, max(1, width // (cell + LEAST_BAR + 1)) + 1)
                if math.ceil(len(scores) / n) <= SCORES_SHARE * height
            ),
            0,
        )
        bar = min(MOST_BAR, width // columns - cell - 1) if columns else 0
        columns = columns or max(1, width // cell)
        rows = min(height, math.ceil(len(scores) / columns))
        table = Table.grid(padding=(0, 1))
        for _ in range(columns):
            table.add_column(no_wrap=True, min_width=longest, max_width=longest)
            for _ in range(3 if bar else 2):
                table.add_column(no_wrap=True, min_width=5)
        names = list(scores)
        for row in range(rows):
            cells: list[RenderableType] = []
            for name in names[row::rows][:columns]:
                shown = [ProgressBar(total=1.0, completed=scores[name], width=bar)] if bar else []
                gain = gain_text(scores[name], before.get(name))
                cells += [Text(name), f"{scores[name]:.3f}", *shown, gain]
            table.add_row(*cells)
        return table, rows

    def _ranked(self, width: int, height: int) -> tuple[Table, int]:
        """The best trials, with as many languages as there is room for; and the table's rows."""
        ranked = self.outcomes.ranked()[: height - 1]
        free = width - sum(size + GAP for size in widths(self._trials(ranked, []))[:-1])
        names = fitting_languages(self.outcomes, free - LEAST_LABEL, GAP, longest=NAME)
        rows = self._trials(ranked, names)
        return line_up(rows, width, GAP), len(rows)

    def _trials(self, ranked: Sequence[Outcome], languages: Sequence[str]) -> list[list[Text]]:
        heads = ["#", "trial", "state", "epoch", "accuracy", "gain", *languages, "what"]
        rows = [[Text(head[:NAME], "dim") for head in heads]]
        for rank, outcome in enumerate(ranked, start=1):
            reference = self.outcomes.reference_after(outcome.epochs)
            before = {} if reference is None else reference.by_language
            scores = [
                _coloured(
                    outcome.by_language.get(name) if outcome.has_score else None, before.get(name)
                )
                for name in languages
            ]
            words = [str(rank), str(outcome.trial), outcome.state or "running", str(outcome.epochs)]
            words.append(f"{outcome.accuracy:.3f}" if outcome.has_score else "")
            gain = equal_epoch_gain(self.outcomes, outcome)
            rows.append([*map(Text, words), gain, *scores, Text(label(outcome))])
        return rows

    def _foot(self) -> list[Text]:
        if self.stopping:
            what = f"Stopping… ({self.stopping}); Ctrl-C again ends at once, without best/"
            status = Text(what, "bold yellow")
        else:
            waits = self.lanes > 0 and not self.outcomes.by_trial
            status = Text(f"{self.status}: starting workers" if waits else self.status, "dim")
        lines = [status]
        if self.note:
            lines.insert(0, Text(f"note: {self.note}", "yellow"))
        if self.dashboard:
            lines.append(Text(f"Ray dashboard: {self.dashboard}", "dim"))
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return lines


def _coloured(score: float | None, before: float | None) -> Text:
    """A score, in the colour of its gain over the reference after as many epochs."""
    return Text("" if score is None else f"{score:.3f}", gain_text(score, before).style)
