"""The append-only record of a run: every report and every ending."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.trial import Scores, State

Event = dict[str, Any]


class Journal:
    """A file of JSON lines.

    Args:
        file: made where it does not exist, otherwise continued after its last whole line.
    """

    def __init__(self, file: Path) -> None:
        if file.exists():
            whole = file.read_bytes().rfind(b"\n") + 1
            os.truncate(file, whole)  # the next event must not be glued to half a line
        self._out = file.open("a", encoding="utf-8")

    def append(self, event: Event) -> None:
        """Write an event; it is on its way to the disk when this returns."""
        self._out.write(json.dumps(event, ensure_ascii=False, allow_nan=True) + "\n")
        self._out.flush()

    def close(self) -> None:
        """Put everything on the disk."""
        self._out.flush()
        os.fsync(self._out.fileno())
        self._out.close()


def read_journal(file: Path) -> Iterator[Event]:
    """Read the events; a last line cut off by a crash is left out."""
    with file.open("rb") as lines:  # a cut may go through the middle of a character
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)


@dataclass
class Outcome:
    """What is known of one trial.

    Attributes:
        state: None while it runs.
        epochs: done so far.
        seconds: of training and evaluation.
        error: why it failed.
    """

    trial: int
    values: dict[str, Any]
    reference: bool = False
    state: State | None = None
    epochs: int = 0
    seconds: float = 0.0
    accuracy: float = math.nan
    by_language: dict[str, float] = field(default_factory=dict)
    trainable_parameters: int | None = None
    error: str = ""


class Outcomes:
    """The trials of a run, followed event by event.

    Attributes:
        untouched: scores of the base without training; None until they are known.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.by_trial: dict[int, Outcome] = {}
        self.untouched: Scores | None = None
        for event in events:
            self.follow(event)

    def follow(self, event: Event) -> None:
        """Take in one event."""
        kind = event["event"]
        if kind == "trial":
            number = event["trial"]
            self.by_trial[number] = Outcome(number, event["values"], event["reference"])
        elif kind == "report":
            outcome = self.by_trial[event["trial"]]
            outcome.epochs = event["epoch"]
            outcome.seconds = event["seconds"]
            outcome.accuracy = event["accuracy"]
            outcome.by_language = event["by_language"]
            outcome.trainable_parameters = event["trainable_parameters"]
        elif kind == "end":
            outcome = self.by_trial[event["trial"]]
            outcome.state = event["state"]
            outcome.error = event.get("error", "")
        elif kind == "untouched":
            self.untouched = Scores(event["accuracy"], event["by_language"])

    def count(self, state: State | None) -> int:
        """Trials in a state; None counts those that run."""
        return sum(outcome.state == state for outcome in self.by_trial.values())

    def reference(self) -> Scores | None:
        """Scores of the reference trial, as far as it has come; None where there are none."""
        found = next((o for o in self.by_trial.values() if o.reference and o.epochs), None)
        return None if found is None else Scores(found.accuracy, found.by_language)

    def ranked(self) -> list[Outcome]:
        """Best first: by accuracy, then the smaller model, then the earlier trial; failed last."""

        def merit(outcome: Outcome) -> tuple[bool, float, int, int]:
            without = outcome.state == "failed" or not math.isfinite(outcome.accuracy)
            accuracy = 0.0 if without else -outcome.accuracy
            return (without, accuracy, outcome.trainable_parameters or 0, outcome.trial)

        return sorted(self.by_trial.values(), key=merit)

    def best(self) -> Outcome | None:
        """The first of the ranking, if it has a score."""
        first = next(iter(self.ranked()), None)
        scored = first is not None and first.state != "failed" and math.isfinite(first.accuracy)
        return first if scored else None


def state_of(epochs: int, max_epochs: int, error: str) -> State:
    """How a trial that has ended is recorded."""
    if error:
        return "failed"
    return "finished" if epochs >= max_epochs else "stopped"
