"""The Python API: ``from search import run, load_run``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from search.settings.problems import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from search.events.outcomes import Outcomes


@dataclass(frozen=True)
class SearchRun:
    """A run folder, read.

    Attributes:
        folder: of the run.
        status: exit status that the command would have had; None for a run that was loaded.
    """

    folder: Path
    status: int | None = None

    @cached_property
    def _outcomes(self) -> Outcomes:
        from search.events.journal import read_journal
        from search.events.outcomes import Outcomes
        from search.runs.resume import JOURNAL

        return Outcomes(read_journal(self.folder / JOURNAL))

    @property
    def trials(self) -> list[dict[str, object]]:
        """The leaderboard, a row a trial, best first; ``pandas.DataFrame(run.trials)`` reads it.

        The columns are those of leaderboard.csv; a row has only those that its trial has.
        """
        from search.report.leaderboard import rows

        return rows(self._outcomes)

    @property
    def best(self) -> dict[str, object]:
        """The row of the best trial.

        Raises:
            ValueError: no trial has a score.
        """
        outcome = self._outcomes.best()
        if outcome is None:
            raise ValueError(f"no trial of {self.folder} has a score")
        return next(row for row in self.trials if row["trial"] == outcome.trial)

    @property
    def untouched(self) -> dict[str, float]:
        """Accuracy of the base without training, by language; empty where it was not scored."""
        scores = self._outcomes.untouched
        return {} if scores is None else dict(scores.by_language)

    @property
    def report(self) -> Path:
        """The page that explains the run."""
        return self.folder / "report.html"

    def model(self) -> SentenceTransformer:
        """Load the best model.

        Raises:
            ValueError: the run has none.
        """
        from sentence_transformers import SentenceTransformer

        from search.export import trusted

        best = self.folder / "best"
        if not best.is_dir():
            raise ValueError(f"{self.folder} has no best/")
        return SentenceTransformer(str(best), trust_remote_code=trusted(best))


def load_run(folder: str | Path) -> SearchRun:
    """Read a run folder, of a search that has ended or still runs.

    Raises:
        InputError: it is none.
    """
    from search.runs.resume import JOURNAL

    if not (Path(folder) / JOURNAL).is_file():
        raise InputError(f"folder is {str(folder)!r}; it must be a run folder, with {JOURNAL}")
    return SearchRun(Path(folder).resolve())


def run(
    space: str | Path,
    *,
    base: str | None = None,
    train: str | Mapping[str, object] | list[str] | None = None,
    validation: str | Mapping[str, object] | list[str] | None = None,
    languages: list[str] | None = None,
    epochs: int | None = None,
    trials: int | None = None,
    concurrency: int | None = None,
    timeout: str | None = None,
    settings: Mapping[str, object] | None = None,
    output: str | Path = "runs",
    name: str | None = None,
    address: str | None = None,
) -> SearchRun:
    """Search a space, as ``isogloss search`` does, and read the run.

    Args:
        space: a space file.
        base, train, validation, languages, epochs, trials, concurrency, timeout, output, name,
            address: as the options of the command; None for what the space says.
        settings: dotted key -> value, in force over the space, as ``--set``.

    Raises:
        InputError: the space, the data, the model or the resources are at fault.
    """
    from search.launch import new_search, run_search
    from search.runs.console import make_console
    from search.runs.options import KEYS
    from search.runs.stopping import StopRequest, parse_duration
    from search.settings.problems import shown
    from search.space.source import Assignment

    request = StopRequest(None if timeout is None else parse_duration(timeout, "timeout"))
    given: dict[str, object] = {
        "base": base, "train": train, "validation": validation, "languages": languages,
        "epochs": epochs, "trials": trials, "concurrency": concurrency,
    }  # fmt: skip
    changes = [
        Assignment(KEYS[key], value, f"{key}={shown(value)}")
        for key, value in given.items()
        if value is not None
    ]
    changes += [
        Assignment(key, value, f"settings[{key!r}]") for key, value in (settings or {}).items()
    ]
    console = make_console()
    out = Path(output).resolve()
    source, folder = new_search(console, Path(space).resolve(), changes, out, name)
    with request.on_signals():
        status = run_search(console, source, folder, None, address, request)
    return SearchRun(folder, status)
