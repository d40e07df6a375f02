"""The end of a search on the terminal: its trials, what the winner changes, gains and loses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import shorten

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.events.outcomes import Outcome, Outcomes
from search.report.tables import fitting_languages, line_up, widths
from search.report.words import (
    differing_settings,
    equal_epoch_gain,
    gain_text,
    label,
    main_rate,
    reference_is_best,
    trains_base,
    worse_languages,
)
from search.scoring.constraints import total
from search.settings.problems import shown
from search.settings.trial import Scores
from search.settings.wording import setting_text

ERROR = 60  # characters of one in the table; the whole stands in the line of its trial
MOST = 10  # trials, beside the reference and those that are cases
LEAST_LABEL = 24  # characters of what a trial is made of, beside a column a language
STATE_COLUMN = 2
NAME = 20  # characters of a language
BLOCK = 34  # characters of a language in the winner's table
NO_END = "interrupted"  # a trial that the end of the search has cut short


def print_ranking(console: Console, outcomes: Outcomes, most: int = MOST) -> None:
    """Print the best trials, the reference and the untouched base, and what the winner is.

    Where the terminal is too narrow for a column a language, those are printed in which the
    reference is worst, and then all of the winner's. Where trials are cases, all of them are
    printed.

    Args:
        most: trials, beside those.
    """
    free = console.width - sum(size + 1 for size in widths(_trials(outcomes, most, []))[:-1])
    names = fitting_languages(outcomes, free - LEAST_LABEL, gap=1, longest=NAME)
    wide = len(names) == len(outcomes.languages())
    rows = _trials(outcomes, most, names)
    numbers = set(range(len(rows[0]) - 1)) - {STATE_COLUMN}
    console.print(line_up(rows, console.width, gap=1, right=numbers))
    if not wide and names:
        of_all = f"{len(names)} of {len(outcomes.languages())} languages"
        line = f"{of_all}: those in which the reference is worst; leaderboard.csv has all"
        console.print(line, style="dim")
    left_out = len(outcomes.by_trial) - len(rows) + 1 + (outcomes.untouched is not None)
    if left_out > 0:
        console.print(f"{left_out} more trials: leaderboard.csv", style="dim")
    scored = [outcome for outcome in outcomes.ranked() if outcome.has_score]
    if breaking := sum(total(outcomes.violations(outcome)) > 0 for outcome in scored):
        last = f"trials that do not keep the constraints of the search stand last: {breaking}"
        none = "no trial keeps the constraints of the search; those nearest to it stand first"
        console.print(last if breaking < len(scored) else none, style="dim")
    if scored:
        meant = ["accuracy: on the validation sentences"]
        if outcomes.reference() is not None:
            meant.append("gain: over the reference after as many epochs")
        elif outcomes.untouched is not None and outcomes.reference_trial() is None:
            meant.append("gain: over the base without training")
        console.print("; ".join(meant), style="dim")
    if any(trains_base(outcome) for outcome in outcomes.ranked()):
        line = "lr: optimizer.base_lr of trials that train the base's own weights"
        console.print(line, style="dim")
    best = outcomes.best()
    if best is None:
        return
    if not wide and best.by_language:
        before, over = _compared_with(outcomes, best)
        console.print(f"\ntrial {best.trial} by language{over}", style="bold")
        console.print(_languages(console, best, before))
    leader = outcomes.leader()
    if outcomes.decided is None and leader is not None and leader is not best:
        line = (
            f"trial {leader.trial} is ahead of trial {best.trial}, but has not ended: --resume "
            f"goes on with it, isogloss export --trial {leader.trial} makes a model of it as it is"
        )
        console.print(line, style="yellow")
    if best.reference:
        console.print(reference_is_best(outcomes))
        return
    differing = differing_settings(outcomes, best)
    if differing and outcomes.reference() is not None:
        console.print(f"\ntrial {best.trial} differs from the reference in", style="bold")
        for name, own, other in differing:
            instead = "" if other is None else f" instead of {setting_text(other)}"
            line = f"  {name}: {setting_text(own)}{instead}"
            console.print(shown(line, 300), markup=False, soft_wrap=True)
    if outcomes.decided is not None:
        return  # the final comparison says in which languages it is worse
    if worse := worse_languages(outcomes, best):
        listed = ", ".join(f"{name} {loss:+.3f}" for name, loss in worse)
        warning = f"warning: trial {best.trial} is worse than the reference in {listed}"
        console.print(warning, markup=False, soft_wrap=True, style="yellow")


def _trials(outcomes: Outcomes, most: int, languages: Sequence[str]) -> list[list[Text]]:
    """Lines of the table: its head, the trials, the untouched base."""
    ranked = outcomes.ranked()
    objective = any(outcome.scores.objective is not None for outcome in ranked)
    titles = ["#", "trial", "state", "epoch", *(["objective"] if objective else []), "accuracy",
              "gain", *(shown(name, NAME) for name in languages), "lr", "params", "seconds",
              "what"]  # fmt: skip
    rows = [[Text(title, "bold") for title in titles]]

    def numbers(scores: Scores | None, gain: Text) -> list[Text]:
        values = [scores.accuracy if scores else None]
        values += [scores.by_language.get(name) if scores else None for name in languages]
        if objective:
            values.insert(0, scores.objective if scores else None)
        texts = [Text("" if value is None else f"{value:.3f}") for value in values]
        return [*texts[: 1 + objective], gain, *texts[1 + objective :]]

    for rank, outcome in enumerate(ranked, start=1):
        if rank > most and not outcome.reference and not outcome.values.get("case"):
            continue
        rate = main_rate(outcome)
        cells = [Text(str(rank)), Text(str(outcome.trial)), Text(outcome.state or NO_END)]
        cells.append(Text(str(outcome.epochs)))
        gain = equal_epoch_gain(outcomes, outcome)
        cells += numbers(outcome.scores if outcome.has_score else None, gain)
        cells.append(Text(f"{rate:.1e}" if isinstance(rate, float) else ""))
        cells.append(Text(_short(outcome.trainable_parameters or 0) if outcome.epochs else ""))
        cells.append(Text(f"{outcome.seconds:.1f}" if outcome.epochs else ""))
        cells.append(Text(shorten(outcome.error, ERROR, placeholder="…") or label(outcome)))
        rows.append(cells)
    if (untouched := outcomes.untouched) is not None:
        reference = outcomes.reference()
        gain = gain_text(untouched.accuracy, reference.accuracy if reference else None)
        first = [Text(""), Text(""), Text("untouched"), Text("")]
        last = [Text(""), Text("0"), Text(""), Text("the base without training")]
        rows.append([*first, *numbers(untouched, gain), *last])
    return rows


def _compared_with(outcomes: Outcomes, best: Outcome) -> tuple[Mapping[str, float], str]:
    """What the winner's languages are compared with, and how that is said, if it must be."""
    reference, untouched = outcomes.reference(), outcomes.untouched
    if reference is not None and not best.reference:
        return reference.by_language, ""
    if untouched is None:
        return {}, ""
    return untouched.by_language, ", gain over the base without training"


def _languages(console: Console, best: Outcome, before: Mapping[str, float]) -> Table:
    """The winner beside another model, languages below and beside one another."""
    names = list(best.by_language)
    columns = max(1, console.width // BLOCK)
    rows = math.ceil(len(names) / columns)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for _ in range(min(columns, math.ceil(len(names) / rows))):
        table.add_column("language", no_wrap=True, max_width=12, overflow="ellipsis")
        for title in ("accuracy", "gain  "):
            table.add_column(title, no_wrap=True, justify="right", min_width=6)
    for row in range(rows):
        cells: list[str | Text] = []
        for name in names[row::rows]:
            gain = gain_text(best.by_language[name], before.get(name))
            cells += [Text(shown(name, 12)), f"{best.by_language[name]:.3f}", gain]
        table.add_row(*cells)
    return table


def _short(count: int) -> str:
    """A count with three digits: 1.18M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return str(count)
