"""A trial that has memorised the validation sentences wins the search, and not the finals.

A whole run folder, from the trials to the model card, by the code that a search runs; only Ray is
left out: trials are trained here, one after another.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search.events.journal import read_journal
from search.events.outcomes import Outcomes
from search.events.replies import TrialSpec
from search.events.types import AVERAGED, ModelScored, TrialEnded, TrialStarted
from search.finals.plan import next_tasks
from search.report.ranking import print_ranking
from search.runs.finish import choose_best, finish_run
from search.runs.folder import Run, open_run
from search.runs.prepare import Prepared, prepare
from search.runs.record import read_record
from search.runtime.checkpoints import Checkpoints
from search.settings.trial import TrialConfig
from search.training.averaging import average
from search.training.checkpoint import Checkpoint
from search.training.session import Session

SPACE = """
base: {model: builtin:tiny, max_length: 32}
data: {train: builtin:cldr, languages: [en, de, gu], train_rows: 150, validation_rows: 40, test_rows: 60}
search: {scheduler: {kind: none, max_epochs: 3}, finalists: {count: 2, seeds: 1}}
head: {kind: identity}
adapter: {kind: lora, rank: 8, targets: all-linear}
optimizer: {lr: 3.0e-3}
training: {batch_size: 16, pairs_per_epoch: 80}
"""  # noqa: E501
HONEST, PLANTED = 1, 2


@dataclass
class Finished:
    """A run that has come to its end.

    Attributes:
        printed: what its end says.
    """

    folder: Path
    outcomes: Outcomes
    printed: str
    prepared: Prepared

    @property
    def rows(self) -> dict[str, dict[str, str]]:
        """Trial -> its row of the leaderboard."""
        with (self.folder / "leaderboard.csv").open(newline="", encoding="utf-8") as file:
            return {row["trial"]: row for row in csv.DictReader(file)}


def train(run: Run, folder: Path, session: Session, spec: TrialSpec) -> None:
    """What a lane does for a trial, and the recorder for its events."""
    assert spec.trial is not None
    run.journal.append(
        TrialStarted(
            trial=spec.trial, repeat=spec.repeat, reference=not spec.trial, values=spec.values
        )
    )
    for report in session.train(TrialConfig.model_validate(spec.values)):
        done = report.event(spec.trial, time.time(), spec.repeat)
        pieces = report.pieces(done, last=False)
        Checkpoints(folder / "trials").write(spec.trial, report.epoch, pieces, spec.repeat)
        run.journal.append(done)
    run.journal.append(TrialEnded(trial=spec.trial, repeat=spec.repeat, state="finished"))


def score(run: Run, folder: Path, session: Session, spec: TrialSpec) -> None:
    """What a lane does for a model of the final comparison."""
    trial, checkpoint = None, None
    if spec.trial is not None:
        states = []
        for repeat in spec.averaged or (spec.repeat,):
            with Checkpoints(folder / "trials").opened(spec.trial, repeat) as file:
                assert file is not None
                states.append(Checkpoint.read(file))
        trial, checkpoint = average(TrialConfig.model_validate(spec.values), states)
    validation, test = session.score(trial, checkpoint)
    run.journal.append(
        ModelScored(
            trial=spec.trial, repeat=spec.repeat, averaged=spec.averaged, validation=validation,
            test=test,
        )
    )  # fmt: skip


def play(prepared: Prepared, folder: Path) -> str:
    """A search of three trials, the last of which is trained on the validation; what is printed."""
    split = prepared.split
    printed = io.StringIO()
    console = Console(file=printed, width=160)
    values: dict[str, Any] = TrialConfig.of(prepared.config.model_dump()).plain()
    linear = {"head": {"kind": "linear", "init": "random"}, "adapter": {"kind": "none"}}
    slow = {"optimizer": values["optimizer"] | {"lr": 1e-5}}
    reference = TrialConfig.model_validate(values | linear | slow).plain()
    with open_run(console, folder, prepared) as run:
        session = Session(
            prepared.session, split.train, split.validation, None, "cpu", test=split.test
        )
        run.journal.append(session.score_untouched())
        train(run, folder, session, TrialSpec(trial=0, values=reference))
        train(run, folder, session, TrialSpec(trial=HONEST, values=values))
        longer = replace(prepared.session, max_epochs=40)
        cheat = Session(longer, split.validation, split.validation, None, "cpu")
        fast = linear | {"optimizer": values["optimizer"] | {"lr": 1e-2}}
        planted = TrialConfig.model_validate(values | fast).plain()
        train(run, folder, cheat, TrialSpec(trial=PLANTED, values=planted))
        done = {"train": train, "score": score}
        while True:
            outcomes = Outcomes(read_journal(folder / "journal.jsonl"))
            tasks = next_tasks(outcomes, prepared.config.search)
            if not tasks:
                break
            for task in tasks:
                done[task.task](run, folder, session, task)
        choose_best(folder, prepared, run)
    assert finish_run(console, folder, prepared) == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Finished]:
    folder = tmp_path_factory.mktemp("runs")

    def make(name: str, *assignments: str) -> Finished:
        space = folder / "space.yaml"
        space.write_text(SPACE)
        prepared = prepare(space, assignments)
        printed = play(prepared, folder / name)
        outcomes = Outcomes(read_journal(folder / name / "journal.jsonl"))
        return Finished(folder / name, outcomes, printed, prepared)

    return make


@pytest.fixture(scope="module")
def with_finalists(finished: Callable[..., Finished]) -> Finished:
    return finished("with")


def test_the_planted_trial_leads_the_search_and_does_not_survive(with_finalists: Finished) -> None:
    outcomes, decided = with_finalists.outcomes, with_finalists.outcomes.decided
    leader = outcomes.ranked()[0]
    assert leader.trial == PLANTED
    assert leader.accuracy > outcomes.by_trial[HONEST].accuracy + 0.1
    assert decided is not None
    assert decided.trial == HONEST and decided.repeat > 0
    best, runner_up = decided.rows[:2]
    assert runner_up.trial == PLANTED
    assert runner_up.validation < leader.accuracy - 0.1  # what was memorised does not come again
    assert best.measured.value > runner_up.measured.value
    assert "final comparison" in with_finalists.printed


def test_what_the_end_of_the_search_describes_is_the_chosen_trial(with_finalists: Finished) -> None:
    printed = io.StringIO()
    print_ranking(Console(file=printed, width=100), with_finalists.outcomes)
    assert f"trial {HONEST} differs from the reference in" in printed.getvalue()
    assert f"trial {PLANTED} differs" not in printed.getvalue()


def test_a_model_whose_checkpoint_is_gone_is_not_written_over(
    with_finalists: Finished, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(with_finalists.folder, tmp_path / "run"))
    decided = with_finalists.outcomes.decided
    assert decided is not None
    Checkpoints(folder / "trials").remove(decided.trial, decided.repeat)
    weights = (folder / "best" / "model.safetensors").read_bytes()
    printed = io.StringIO()
    console = Console(file=printed, width=160)
    assert finish_run(console, folder, with_finalists.prepared) == 0
    assert (folder / "best" / "model.safetensors").read_bytes() == weights
    said = printed.getvalue()
    run = f"trial {decided.trial} with seed {decided.repeat} of the finals"
    assert said.count(f"{run} has no checkpoint") == 1
    assert "best/ stays as it was written before" in said


def test_the_figure_on_the_card_is_that_of_the_test(with_finalists: Finished) -> None:
    outcomes, decided = with_finalists.outcomes, with_finalists.outcomes.decided
    assert decided is not None
    chosen = outcomes.scored[decided.trial, decided.repeat]
    assert chosen.test is not None
    card = (with_finalists.folder / "best" / "README.md").read_text(encoding="utf-8")
    headline = re.search(r"\*\*Top-1 retrieval accuracy against the pivot: (0\.\d+)\*\*", card)
    assert headline and float(headline[1]) == pytest.approx(chosen.test.accuracy, abs=0.0011)
    assert f"({chosen.validation.accuracy:.3f} on the validation sentences)" in card
    reference, base = outcomes.scored[0, 0].test, outcomes.scored[None, 0].test
    assert reference is not None and base is not None
    assert f"| {reference.accuracy:.3f} | {base.accuracy:.3f} |" in card
    assert "| de | 60 |" in card
    assert "against the reference" in card


def test_the_leaderboard_has_the_test_of_those_that_were_compared(
    with_finalists: Finished,
) -> None:
    rows = with_finalists.rows
    assert rows[str(HONEST)]["against_best"] == "best"
    for trial, name in ((HONEST, str(HONEST)), (PLANTED, str(PLANTED)), (0, "0"), (None, "")):
        runs = [s.test for run, s in with_finalists.outcomes.scored.items() if run[0] == trial]
        accuracies = [one.by_language["gu"] for one in runs if one is not None]
        expected = sum(accuracies) / len(accuracies)
        assert float(rows[name]["test/gu"]) == pytest.approx(expected, abs=1e-6)
        low, value, high = (float(rows[name][f"test{end}"]) for end in ("_low", "", "_high"))
        assert low < value < high


def test_the_report_says_how_the_best_was_chosen(with_finalists: Finished) -> None:
    page = (with_finalists.folder / "report.html").read_text(encoding="utf-8")
    assert "The final comparison" in page
    assert f"trial {HONEST}, trained anew with 1 other seed" in page
    assert "On the test sentences, trial 1 reaches" in page


def test_without_finalists_it_is_taken_but_its_card_shows_what_it_is_worth(
    finished: Callable[..., Finished],
) -> None:
    run = finished("without", "search.finalists=null")
    decided = run.outcomes.decided
    assert decided is not None and (decided.trial, decided.repeat) == (PLANTED, 0)
    leader = run.outcomes.by_trial[PLANTED]
    card = (run.folder / "best" / "README.md").read_text(encoding="utf-8")
    headline = re.search(r"against the pivot: (0\.\d+)\*\*", card)
    assert headline and float(headline[1]) < leader.accuracy - 0.1


@pytest.fixture(scope="module")
def with_average(finished: Callable[..., Finished]) -> Finished:
    return finished("average", "search.finalists.seeds=3", "optimizer.lr=1e-2")


def test_the_average_of_its_runs_is_the_model_where_it_is_better(with_average: Finished) -> None:
    outcomes, decided = with_average.outcomes, with_average.outcomes.decided
    assert decided is not None and (decided.trial, decided.repeat) == (HONEST, AVERAGED)
    row, planted = decided.rows[:2]
    runs = [outcomes.scored[HONEST, repeat].validation.accuracy for repeat in (1, 2, 3)]
    average = outcomes.scored[HONEST, AVERAGED]
    assert average.test is not None
    assert row.averaged and row.repeats == (1, 2, 3)
    assert (row.validation, row.lowest, row.highest) == pytest.approx(
        (average.validation.accuracy, min(runs), max(runs))
    )
    assert row.validation > sum(runs) / 3
    assert row.measured.value == pytest.approx(average.test.accuracy)
    assert planted.trial == PLANTED and planted.repeats == (1, 2, 3)
    card = (with_average.folder / "best" / "README.md").read_text(encoding="utf-8")
    headline = re.search(r"\*\*Top-1 retrieval accuracy against the pivot: (0\.\d+)\*\*", card)
    assert headline and float(headline[1]) == pytest.approx(average.test.accuracy, abs=0.0011)
    assert "this model has the mean of the weights of these 3 runs" in card
    assert '"rank": 24' in card
    assert f"the average of these runs' weights {row.validation:.3f}" in with_average.printed
    page = (with_average.folder / "report.html").read_text(encoding="utf-8")
    assert f"trial {HONEST}, average of 3 runs" in page


def test_other_settings_of_a_finished_run_decide_anew(
    with_average: Finished, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(with_average.folder, tmp_path / "run"))
    file = folder / "journal.jsonl"
    lines = len(file.read_text(encoding="utf-8").splitlines())

    def chosen(**changes: object) -> tuple[int, int]:
        """The model, and how many lines the journal has after it was chosen."""
        finals = with_average.prepared.config.search.finals.model_copy(update=changes)
        search = with_average.prepared.config.search.model_copy(update={"finalists": finals})
        config = with_average.prepared.config.model_copy(update={"search": search})
        prepared = replace(with_average.prepared, config=config)
        with open_run(Console(file=io.StringIO()), folder, prepared, read_record(folder)) as run:
            assert run.is_complete(3, search)
            choose_best(folder, prepared, run)
        decided = Outcomes(read_journal(file)).decided
        assert decided is not None
        return decided.repeat, len(file.read_text(encoding="utf-8").splitlines())

    assert chosen() == (AVERAGED, lines), "the same settings choose the same, and add nothing"
    repeat, after = chosen(average=False)
    assert repeat in (1, 2, 3) and after == lines + 1
    assert chosen() == (AVERAGED, lines + 2)


def test_an_average_of_which_a_run_is_gone_is_not_made_of_the_others(
    with_average: Finished, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(with_average.folder, tmp_path / "run"))
    Checkpoints(folder / "trials").remove(HONEST, 2)
    weights = (folder / "best" / "model.safetensors").read_bytes()
    printed = io.StringIO()
    console = Console(file=printed, width=160)
    assert finish_run(console, folder, with_average.prepared) == 0
    assert (folder / "best" / "model.safetensors").read_bytes() == weights
    assert f"trial {HONEST} with seed 2 of the finals has no checkpoint" in printed.getvalue()
